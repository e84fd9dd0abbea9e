"""The task that finds missed runs."""

from sqlalchemy import func, select

from watcher_server.missed_runs.service import check_schedules
from watcher_server.settings import get_settings
from watcher_server.tasking.sending.task import task_transaction, watcher_task


@watcher_task("schedule_check_task", status="Checking schedules...")
def schedule_check_task() -> dict[str, int]:
    """Log and alert the runs that were expected and never started."""
    max_age = get_settings().alert_max_age_hours
    with task_transaction() as connection:
        now = connection.execute(select(func.now())).scalar_one()
        found = check_schedules(connection, now, alert_max_age_hours=max_age)
    return {"new_missed_runs": found.logged, "alerted": found.alerted, "left_out": found.left_out}
