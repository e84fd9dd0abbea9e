"""The history of tasks: find one, list and count them, run failed ones again, delete old ones."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from watcher_server.audit.service import Change, record
from watcher_server.kit.errors import ConflictError, NotFoundError
from watcher_server.tasking.history.reading import select_page, select_task
from watcher_server.tasking.history.schemas import TaskDetail, TaskList, TaskQuery, TaskSummary
from watcher_server.tasking.history.states import ERROR_STATES, TaskState
from watcher_server.tasking.wire import WAKE_CHANNEL


def find_task(connection: Connection, task_id: str) -> TaskDetail:
    """The task with that id; raises NotFoundError if there is none, or if it is older than the history."""
    row = connection.execute(select_task(_parse_id(task_id))).mappings().one_or_none()
    if row is None:
        raise _unknown(task_id)
    return TaskDetail.model_construct(**_facts(row))


def list_tasks(connection: Connection, query: TaskQuery) -> TaskList:
    """The tasks that the query asks for, the newest first."""
    rows = connection.execute(select_page(query)).mappings().all()
    return TaskList.model_construct(
        tasks=[TaskSummary.model_construct(**_facts(row)) for row in rows[: query.limit]],
        next_offset=query.offset + query.limit if len(rows) > query.limit else None,
    )


def _parse_id(task_id: str) -> UUID:
    try:
        return UUID(task_id)
    except ValueError:
        # Celery accepts any text as an id; the history keeps only UUIDs.
        raise _unknown(task_id) from None


def _unknown(task_id: str) -> NotFoundError:
    return NotFoundError(f"No task has the id {task_id}: it never existed, or is older than the history kept.")


def _facts(row: RowMapping) -> dict[str, Any]:
    # PostgreSQL has checked the types. A program that writes to the database itself may have stored other JSON, which
    # must not keep the task from being shown.
    state, meta = row["state"], row["meta"]
    if state == TaskState.SUCCESS:
        meta = {"result": meta}
    elif isinstance(meta, dict) and state in ERROR_STATES:
        # Without the module that Celery needs to raise the error again.
        meta = {key: meta.get(key) for key in ("exc_type", "exc_message", "retry_count", "max_retries")}
    elif isinstance(meta, dict):
        # In their documented order; JSONB does not keep the order of keys.
        meta = {key: meta[key] for key in ("status", "current_step", "progress") if key in meta} | meta
    return {**row, "meta": meta}


# A coalesced task runs again alone, no longer with the task that failed for it. A task that waits in the outbox already
# is not put there twice.
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

# By ix_task_failed. The coalesced tasks of a failed one are done by it again.
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


def retry_task(connection: Connection, task_id: str) -> TaskDetail:
    """Put a task that failed back into the outbox under its id, as if it had never run; its history stays.

    Raises NotFoundError if there is none; ConflictError if it did not fail, or another request has retried it.
    """
    values = {"id": _parse_id(task_id), "channel": WAKE_CHANNEL}
    retried = connection.execute(text(_RETRY), values).scalar_one()
    task = find_task(connection, task_id)
    if not retried:
        raise ConflictError(
            f"The task {task_id} is in the state {task.state}: only one in the state FAILURE or REVOKED can be retried."
        )
    record(connection, Change("retry", "task", task.id, task.name))
    return task


def retry_failed(connection: Connection, name: str | None = None) -> int:
    """Put every task in the state FAILURE, or those of one name, back into the outbox; how many."""
    values = {"name": name, "channel": WAKE_CHANNEL}
    retried = int(connection.execute(text(_RETRY_FAILED), values).scalar_one())
    if retried:
        record(connection, Change("retry", "task", None, name or "every failed task", after={"retried": retried}))
    return retried


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

    Those go that finished more than ``days`` ago, or failed more than ``failed_days`` ago; what never finished is kept.
    The connection is a transaction for this batch alone, so that it holds its locks for a short time.
    """
    values = {"days": days, "failed_days": failed_days, "batch": batch}
    return connection.execute(text(_TRIM), values).rowcount


def find_last_created(connection: Connection, names: Collection[str]) -> dict[str, datetime]:
    """When the last task of each name was created (UTC); names of which the history has none are left out."""
    return _find_last(connection, names, succeeded=False)


def find_last_succeeded(connection: Connection, names: Collection[str]) -> dict[str, datetime]:
    """When the last task of each name that succeeded was created (UTC); names that never did are left out."""
    return _find_last(connection, names, succeeded=True)


def _find_last(connection: Connection, names: Collection[str], *, succeeded: bool) -> dict[str, datetime]:
    # Per name one entry of ix_task_name_created_at, past the tasks that did not succeed where only success counts.
    # Ordered by both columns of the index: by the moment alone, PostgreSQL would read the tasks of all names backwards.
    statement = """
        SELECT wanted.name, max(last.created_at) AS created_at
        FROM unnest(cast(:names AS text[])) AS wanted (name), LATERAL (
            (SELECT task.created_at FROM task
            WHERE (task.name, task.created_at) <= (wanted.name, 'infinity') AND task.name >= wanted.name
                AND (task.state = 'SUCCESS' OR NOT :succeeded)
            ORDER BY task.name DESC, task.created_at DESC LIMIT 1)
            UNION ALL
            SELECT outbox.created_at FROM outbox WHERE outbox.task_name = wanted.name AND NOT :succeeded
        ) AS last
        GROUP BY wanted.name
    """
    rows = connection.execute(text(statement), {"names": list(names), "succeeded": succeeded})
    return {row.name: row.created_at for row in rows}


def count_states(connection: Connection) -> Counter[str]:
    """The tasks that wait, run, will be tried again or failed for good, by state; those of the outbox up to 10,000."""
    counts: Counter[str] = Counter()
    # By ix_task_under_way and ix_task_failed, so finished tasks are not read. A task that waits in the outbox for its
    # retry is in ``task`` as RETRY; one that was put back by hand is PENDING there without a time of publication. The
    # outbox is counted up to ten thousand: the depths of the queues have the exact number.
    statement = """
        SELECT state, count(*) AS number FROM task
        WHERE state IN ('PENDING', 'PROGRESS', 'RETRY') AND (state <> 'PENDING' OR published_at IS NOT NULL)
        GROUP BY state
        UNION ALL
        SELECT 'PENDING', count(*) FROM (SELECT FROM outbox WHERE retries = 0 LIMIT 10000) AS waiting
        UNION ALL
        SELECT 'FAILURE', count(*) FROM task WHERE state = 'FAILURE'
    """
    for row in connection.execute(text(statement)):
        counts[row.state] += row.number
    return counts


def count_failed(connection: Connection) -> dict[str, int]:
    """The tasks that failed for good and are kept, by name; by ix_task_failed."""
    statement = text("SELECT name, count(*) AS number FROM task WHERE state = 'FAILURE' GROUP BY name ORDER BY name")
    return {row.name: row.number for row in connection.execute(statement)}


def count_coalesced(connection: Connection, task_id: UUID) -> int:
    """The other tasks whose work that task did; by ix_task_coalesced_into."""
    return connection.scalar(text("SELECT count(*) FROM task WHERE coalesced_into = :id"), {"id": task_id}) or 0


def find_names(connection: Connection) -> list[str]:
    """The names of the tasks in the history, in order."""
    # From one name to the next one in ix_task_name_created_at, however many tasks there are of each.
    statement = """
        WITH RECURSIVE known (name) AS (
            (SELECT name FROM task ORDER BY name LIMIT 1)
            UNION ALL
            SELECT (SELECT task.name FROM task WHERE task.name > known.name ORDER BY task.name LIMIT 1)
            FROM known WHERE known.name IS NOT NULL
        )
        SELECT name FROM known WHERE name IS NOT NULL
    """
    return list(connection.scalars(text(statement)))
