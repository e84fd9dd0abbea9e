"""The task that finds stale pipelines."""

from watcher_server.freshness.service import check_freshness
from watcher_server.queueing.task import task_transaction, watcher_task


@watcher_task("freshness_check_task", status="Checking freshness...")
def freshness_check_task() -> dict[str, int]:
    """Log and alert the pipelines that have become stale."""
    with task_transaction() as connection:
        return {"new_stale_pipelines": check_freshness(connection)}
