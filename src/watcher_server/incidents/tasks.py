"""The tasks about incidents. The keeper sweeps and looks at the queues by itself; the tasks do so when called."""

from watcher_server.executions.reading import require_execution
from watcher_server.incidents.backfills import tell_failed_backfill
from watcher_server.incidents.failing import judge_failure
from watcher_server.incidents.queues import check_queues
from watcher_server.incidents.sweep import sweep_incidents, tell_resolved
from watcher_server.kit.errors import NotFoundError
from watcher_server.settings import get_settings
from watcher_server.tasking.sending.task import task_transaction, watcher_task


@watcher_task("judge_failure_task", status="Judging a failed run...")
def judge_failure_task(pipeline_id: int, pipeline_execution_id: int) -> dict[str, int | str | None]:
    """Open the incident of a pipeline of which a run failed, and tell people, unless a later run succeeded.

    People are told of a backfill that failed, which is no incident.
    """
    max_age = get_settings().alert_max_age_hours
    with task_transaction() as connection:
        tell_failed_backfill(connection, pipeline_execution_id, alert_max_age_hours=max_age)
        opening = judge_failure(connection, pipeline_id, alert_max_age_hours=max_age)
        if opening is None:
            try:
                require_execution(connection, pipeline_id, pipeline_execution_id)
            except NotFoundError as error:
                return {"incident_id": None, "change": None, "skipped": str(error)}
            return {"incident_id": None, "change": None}
    return {"incident_id": opening.incident_id, "change": opening.change}


@watcher_task("sweep_incidents_task", status="Looking at open incidents...")
def sweep_incidents_task() -> dict[str, int]:
    """Resolve what is over, explain what is open, and tell people what has become due."""
    with task_transaction() as connection:
        resolved = sweep_incidents(connection, get_settings())
        tell_resolved(connection, get_settings())
    return {"resolved": resolved}


@watcher_task("celery_queue_health_check_task")
def celery_queue_health_check_task() -> dict[str, int]:
    """Alert every queue whose level changed."""
    with task_transaction() as connection:
        return {"alerts": check_queues(connection, get_settings())}
