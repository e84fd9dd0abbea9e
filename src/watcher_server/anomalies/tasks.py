"""The task that judges an execution."""

from watcher_server.anomalies.detection import detect_anomalies, judge
from watcher_server.database.engine import autocommit
from watcher_server.kit.errors import NotFoundError
from watcher_server.settings import get_settings
from watcher_server.tasking.sending.task import task_transaction, watcher_task


@watcher_task("detect_anomalies_task", status="Processing anomaly detection...")
def detect_anomalies_task(pipeline_id: int, pipeline_execution_id: int) -> dict[str, int | str]:
    """Judge a successful execution by its pipeline's rules.

    One that is usual is only read. Any other is locked, and judged again, before what follows is written.
    """
    max_age = get_settings().alert_max_age_hours
    try:
        with autocommit() as connection:
            judgement = judge(connection, pipeline_id, pipeline_execution_id, lock=False)
        if judgement is None or not judgement.has_consequences:
            return {"anomalies_found": 0}
        with task_transaction(durable=False) as connection:
            anomalies = detect_anomalies(connection, pipeline_id, pipeline_execution_id, alert_max_age_hours=max_age)
    except NotFoundError as error:
        return {"anomalies_found": 0, "skipped": str(error)}
    return {"anomalies_found": len(anomalies)}
