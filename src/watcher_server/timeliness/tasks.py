"""The task that finds overdue executions."""

from watcher_server.settings import get_settings
from watcher_server.tasking.sending.task import task_transaction, watcher_task
from watcher_server.timeliness.service import CHECK_TASK, check_timeliness


@watcher_task(CHECK_TASK, status="Checking timeliness...")
def timeliness_check_task(lookback_minutes: int = 60) -> dict[str, int]:
    """Log and alert the executions that have become overdue, and those that soon will."""
    max_age = get_settings().alert_max_age_hours
    with task_transaction() as connection:
        found = check_timeliness(connection, lookback_minutes, alert_max_age_hours=max_age)
    return {
        "new_overdue_executions": found.logged,
        "alerted": found.alerted,
        "new_warnings": found.warnings_logged,
        "warnings_alerted": found.warnings_alerted,
    }
