"""What became of each task: found, listed, run again, and in time forgotten."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from watcher_server.kit.errors import ConflictError, NotFoundError
from watcher_server.queueing.outbox import WAKE_CHANNEL
from watcher_server.task_history.reading import select_page, select_task
from watcher_server.task_history.schemas import TaskQuery
from watcher_server.task_history.states import TaskState

# In the order in which people read them; JSONB keeps an order of its own.
_PROGRESS_KEYS = ("status", "current_step", "progress")
_ERROR_KEYS = ("exc_type", "exc_message", "retry_count", "max_retries")
_ERROR_STATES = frozenset({TaskState.RETRY, TaskState.FAILURE, TaskState.REVOKED})


@dataclass(frozen=True)
class Task:
    """A task, wherever it is; :class:`watcher_server.task_history.schemas.TaskDetail` says what each field means."""

    id: UUID
    name: str
    state: str
    meta: Any
    kwargs: dict[str, Any]
    queue: str
    pipeline_id: int | None
    pipeline_execution_id: int | None
    retries: int
    created_at: datetime
    due_at: datetime | None
    published_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    coalesced_into: UUID | None
    history: list[dict[str, Any]]
    traceback: str | None
    context: dict[str, Any] | None

    @property
    def failed_tries(self) -> int:
        """How often it failed, over all times it was retried by hand."""
        return len(self.history)

    @property
    def request_id(self) -> str | None:
        """The request that called for it."""
        return (self.context or {}).get("request_id")


@dataclass(frozen=True)
class TaskPage:
    """A page of a list; ``next_offset`` is None on the last."""

    tasks: list[Task]
    next_offset: int | None


def find_task(connection: Connection, task_id: str) -> Task:
    """The task with that id.

    Raises:
        NotFoundError: there is none, and if there ever was, it is older than the history.
    """
    row = connection.execute(select_task(_parse_id(task_id))).one_or_none()
    if row is None:
        raise _unknown(task_id)
    return _read(row)


def list_tasks(connection: Connection, query: TaskQuery) -> TaskPage:
    """The tasks that the query asks for, the newest first."""
    rows = connection.execute(select_page(query)).all()
    more = len(rows) > query.limit
    return TaskPage(
        tasks=[_read(row) for row in rows[: query.limit]],
        next_offset=query.offset + query.limit if more else None,
    )


def _parse_id(task_id: str) -> UUID:
    try:
        return UUID(task_id)
    except ValueError:
        # Celery lets a caller name a task as he likes; Watcher knows none by such a name.
        raise _unknown(task_id) from None


def _unknown(task_id: str) -> NotFoundError:
    return NotFoundError(f"No task has the id {task_id}: it never existed, or is older than the history kept.")


def _read(row: Row[Any]) -> Task:
    facts = row._asdict()
    return Task(**facts | {"meta": _shown_meta(facts["state"], facts["meta"])})


def _shown_meta(state: str, meta: Any) -> Any:
    if state == TaskState.SUCCESS:
        return {"result": meta}
    if not isinstance(meta, dict):
        return meta
    if state in _ERROR_STATES:
        # Without the module that Celery needs to raise the error again.
        return {key: meta.get(key) for key in _ERROR_KEYS}
    return {key: meta[key] for key in _PROGRESS_KEYS if key in meta} | meta


# A coalesced task runs again by itself, and is no longer in the state of the one that failed for it. Should the same
# task wait in the outbox already, it is not put there twice.
_RETRY = """
WITH failed AS (
    UPDATE task SET state = 'PENDING', meta = NULL, traceback = NULL, retries = 0, deaths = 0, published_at = NULL,
        started_at = NULL, finished_at = NULL, worker_id = NULL, coalesced_into = NULL
    WHERE id = :id AND (state IN ('FAILURE', 'REVOKED') OR EXISTS (
        SELECT FROM task AS doer WHERE doer.id = task.coalesced_into AND doer.state IN ('FAILURE', 'REVOKED')
    ))
    RETURNING id, name, kwargs, queue, options, context
), queued AS (
    INSERT INTO outbox (task_id, task_name, kwargs, queue, options, context)
    SELECT id, name, kwargs, queue, options, context FROM failed
    WHERE NOT EXISTS (SELECT FROM outbox WHERE outbox.task_id = failed.id)
)
SELECT count(*), pg_notify(:channel, '') FROM failed
"""

# By ix_task_failed. What a failed task did for coalesced ones it does for them again.
_RETRY_FAILED = """
WITH failed AS (
    UPDATE task SET state = 'PENDING', meta = NULL, traceback = NULL, retries = 0, deaths = 0, published_at = NULL,
        started_at = NULL, finished_at = NULL, worker_id = NULL
    WHERE state = 'FAILURE' AND name = coalesce(:name, name)
    RETURNING id, name, kwargs, queue, options, context, created_at
), queued AS (
    INSERT INTO outbox (task_id, task_name, kwargs, queue, options, context)
    SELECT id, name, kwargs, queue, options, context FROM failed
    WHERE NOT EXISTS (SELECT FROM outbox WHERE outbox.task_id = failed.id)
    ORDER BY created_at, id
)
SELECT count(*), pg_notify(:channel, '') FROM failed
"""


def retry_task(connection: Connection, task_id: str) -> Task:
    """Put a task that failed back into the outbox under its id, as if it had never run; its history stays.

    Raises:
        NotFoundError: there is no such task.
        ConflictError: it did not fail, or somebody else is retrying it.
    """
    values = {"id": _parse_id(task_id), "channel": WAKE_CHANNEL}
    retried = connection.execute(text(_RETRY), values).scalar_one()
    task = find_task(connection, task_id)
    if not retried:
        raise ConflictError(
            f"The task {task_id} is in the state {task.state}: only one in the state FAILURE or REVOKED can be retried."
        )
    return task


def retry_failed(connection: Connection, name: str | None = None) -> int:
    """Put every task in the state FAILURE, or those of one name, back into the outbox; how many."""
    values = {"name": name, "channel": WAKE_CHANNEL}
    return int(connection.execute(text(_RETRY_FAILED), values).scalar_one())


# The oldest first, by ix_task_finished_at. A coalesced task goes after the one that did its work.
_TRIM = """
DELETE FROM task WHERE id = ANY (ARRAY(
    SELECT id FROM task
    WHERE finished_at < now() - make_interval(days => CASE state WHEN 'FAILURE' THEN :failed_days ELSE :days END)
        AND finished_at < now() - make_interval(days => least(:days, :failed_days))
        AND NOT EXISTS (SELECT FROM task AS doer WHERE doer.id = task.coalesced_into)
    ORDER BY finished_at LIMIT :batch FOR UPDATE SKIP LOCKED
))
"""


def trim_history(connection: Connection, days: int, failed_days: int, batch: int) -> int:
    """Delete a batch of the tasks that finished longest ago; how many rows. Fewer than ``batch``: there are no more.

    Args:
        connection: a transaction for this batch alone, so that it holds its locks for a short time.
        days: tasks that finished longer ago are deleted; what never finished is kept.
        failed_days: the same for tasks in the state FAILURE.
        batch: rows at most.
    """
    values = {"days": days, "failed_days": failed_days, "batch": batch}
    return connection.execute(text(_TRIM), values).rowcount
