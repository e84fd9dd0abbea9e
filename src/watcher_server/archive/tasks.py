"""The tasks of the archive."""

import time

from watcher_server.archive.forgetting import forget_all
from watcher_server.archive.service import Kind, settle
from watcher_server.database.engine import sync_engine
from watcher_server.settings import get_settings
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.sending.task import report_progress, task_transaction, watcher_task
from watcher_server.tasking.wire import SCHEDULED_QUEUE

# After a turn of this length, the checks that wait in the same queue run first.
_LONGEST_TURN_SECONDS = 60.0


@watcher_task("revive_task", status="Bringing back what was reported again...")
def revive_task(pipeline_ids: list[int], address_ids: list[int]) -> dict[str, int]:
    """Bring back the edges and plan the schedules of what a report took out of the archive."""
    with task_transaction() as connection:
        return {"edges": settle(connection, pipeline_ids=pipeline_ids, address_ids=address_ids)}


@watcher_task("forget_task", status="Deleting a pipeline or an address...")
def forget_task(kind: str, id: int) -> dict[str, int | bool]:  # noqa: A002 - the name in the message
    """Delete it and its history for a while, and queue another task of this kind for the rest."""
    # Well below the time limit, so that it ends by itself.
    ends_at = time.monotonic() + min(_LONGEST_TURN_SECONDS, get_settings().task_time_limit_seconds / 4)
    done = forget_all(sync_engine(), Kind(kind), id, goes_on=lambda: time.monotonic() < ends_at, report=report_progress)
    if not done.finished:
        with task_transaction() as connection:
            enqueue(connection, "forget_task", SCHEDULED_QUEUE, kind=kind, id=id)
    return {"rows": done.rows, "finished": done.finished}
