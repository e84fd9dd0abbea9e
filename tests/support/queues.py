"""Small builders for what queues are measured by, by the number: waiting, published and finished tasks, workers."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, insert

from tests.support.rows import ago, now
from watcher_server.tasking.models import OutboxMessage, TaskRun, Worker

DETECT = "detect_anomalies_task"
FRESHNESS = "freshness_check_task"
DELIVER = "deliver_alert_task"


def add_waiting(connection: Connection, number: int = 1, task: str = DETECT, **fields: Any) -> None:
    """So many messages in the outbox, due now unless the fields say otherwise."""
    values = {"task_name": task, "kwargs": {}, "queue": "celery", **fields}
    connection.execute(insert(OutboxMessage), [values] * number)


def add_published(connection: Connection, number: int = 1, task: str = DETECT, **fields: Any) -> None:
    """So many tasks of an hour ago, published now and not started, unless the fields say otherwise."""
    values = {
        "name": task,
        "kwargs": {},
        "queue": "celery",
        "state": "PENDING",
        "created_at": ago(hours=1),
        "published_at": now(),
        **fields,
    }
    connection.execute(insert(TaskRun), [{**values, "id": uuid4()} for _ in range(number)])


def add_finished(connection: Connection, number: int = 1, task: str = DETECT, **fields: Any) -> None:
    """So many tasks that succeeded just now, unless the fields say otherwise."""
    add_published(connection, number, task, **{"state": "SUCCESS", "finished_at": ago(seconds=5), **fields})


def add_worker(
    connection: Connection, name: str = "celery@one", *, seen_at: datetime | None = None, **fields: Any
) -> UUID:
    """A worker of all queues, seen now unless the fields say otherwise; its id."""
    values = {
        "id": uuid4(),
        "name": name,
        "host": "one",
        "pid": 4711,
        "queues": ["celery", "scheduled", "alerts"],
        "processes": 2,
        "seen_at": seen_at or now(),
        **fields,
    }
    connection.execute(insert(Worker), values)
    return UUID(str(values["id"]))
