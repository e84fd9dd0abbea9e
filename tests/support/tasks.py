"""Small builders for tasks: waiting in the outbox, published, run."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, insert, select, update

from tests.support.rows import ago, now
from watcher_server.tasking.models import OutboxMessage, TaskRun, Worker

PROGRESS = {"status": "Processing anomaly detection...", "current_step": "Calculating z-scores", "progress": 75}
ERROR = {"exc_type": "DatabaseError", "exc_message": "Connection timeout", "retry_count": 2, "max_retries": 3}
UNKNOWN_ID = "6a3c2c8e-93d1-4a58-b7ad-2f7f6d0c9e11"
# As the result backend stores it: Celery needs the module to raise the error again.
STORED_ERROR = {**ERROR, "exc_module": "sqlalchemy.exc"}

_FINAL = {"SUCCESS", "FAILURE", "REVOKED", "COALESCED"}
_META = {"PROGRESS": PROGRESS, "RETRY": STORED_ERROR, "FAILURE": STORED_ERROR, "SUCCESS": {"anomalies_found": 2}}


def add_task(connection: Connection, state: str = "SUCCESS", name: str = "detect_anomalies_task", **fields: Any) -> str:
    """A published task, with what its state brings along unless the fields say otherwise; its id."""
    values = {
        "id": uuid4(),
        "name": name,
        "kwargs": {},
        "queue": "celery",
        "state": state,
        "meta": _META.get(state),
        "published_at": now(),
        "started_at": None if state == "PENDING" else now(),
        "finished_at": now() if state in _FINAL else None,
        **fields,
    }
    connection.execute(insert(TaskRun).values(values))
    return str(values["id"])


def change_task(connection: Connection, task_id: str, **fields: Any) -> None:
    """Write columns of a task."""
    connection.execute(update(TaskRun).where(TaskRun.id == UUID(task_id)).values(fields))


def task_row(connection: Connection, task_id: str) -> dict[str, Any]:
    """A task as it is stored."""
    statement = select(TaskRun.__table__).where(TaskRun.id == UUID(task_id))
    return dict(connection.execute(statement).mappings().one())


def add_waiting(connection: Connection, name: str = "detect_anomalies_task", **fields: Any) -> str:
    """A task in the outbox; its id."""
    values = {"task_id": uuid4(), "task_name": name, "kwargs": {}, **fields}
    connection.execute(insert(OutboxMessage).values(values))
    return str(values["task_id"])


def publish(connection: Connection, task_id: str, state: str = "PENDING", **fields: Any) -> None:
    """Move a task out of the outbox, as the relay does."""
    taken = delete(OutboxMessage).where(OutboxMessage.task_id == UUID(task_id)).returning(OutboxMessage.__table__)
    row = connection.execute(taken).one()
    kept = {"id": row.task_id, "kwargs": row.kwargs, "queue": row.queue, "created_at": row.created_at}
    add_task(connection, state, row.task_name, **{**kept, **fields})


def waiting_rows(connection: Connection) -> list[dict[str, Any]]:
    """The outbox, in the order in which it was written."""
    statement = select(OutboxMessage.__table__).order_by(OutboxMessage.id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def add_worker(connection: Connection, name: str = "celery@here") -> UUID:
    """A worker; its id."""
    worker_id = uuid4()
    values = {"id": worker_id, "name": name, "host": "here", "pid": 1, "queues": ["celery"], "processes": 2}
    connection.execute(insert(Worker).values({**values, "seen_at": ago(seconds=1)}))
    return worker_id
