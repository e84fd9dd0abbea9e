"""The task that deletes rows older than the retention."""

import time

from watcher_server.database.engine import sync_engine
from watcher_server.kit.errors import ConflictError
from watcher_server.retention.schemas import CleanupRequest
from watcher_server.retention.service import clean_up
from watcher_server.settings import get_settings
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.sending.task import report_progress, task_transaction, watcher_task
from watcher_server.tasking.wire import SCHEDULED_QUEUE

# After a turn of this length, the checks that wait in the same queue run first.
_LONGEST_TURN_SECONDS = 60.0


@watcher_task("retention_task", status="Deleting what is older than the retention...")
def retention_task(retention_days: int) -> dict[str, int | str]:
    """Delete for a while, and queue another task of this kind for the rest."""
    # Well below the time limit, so that it ends by itself.
    ends_at = time.monotonic() + min(_LONGEST_TURN_SECONDS, get_settings().task_time_limit_seconds / 4)
    request = CleanupRequest(retention_days=retention_days)
    try:
        done = clean_up(sync_engine(), request, goes_on=lambda: time.monotonic() < ends_at, report=report_progress)
    except ConflictError as error:
        return {"skipped": str(error)}
    # After a turn that deleted nothing, the next would delete nothing either.
    if not done.finished and any(done.counts.values()):
        with task_transaction() as connection:
            enqueue(connection, "retention_task", SCHEDULED_QUEUE, retention_days=retention_days)
    return {**done.counts}
