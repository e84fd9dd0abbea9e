"""The task that finds stale pipelines."""

from watcher_server.freshness.service import check_freshness
from watcher_server.tasking.sending.task import task_transaction, watcher_task


@watcher_task("freshness_check_task", status="Checking freshness...")
def freshness_check_task() -> dict[str, int]:
    """Log and alert the pipelines that have become stale, and those that soon will."""
    with task_transaction() as connection:
        found = check_freshness(connection)
    return {"new_stale_pipelines": found.logged, "new_warnings": found.warnings_logged}
