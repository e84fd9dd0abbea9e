"""The task that judges an execution."""

from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.queueing.task import task_transaction, watcher_task
from watcher_server.settings import get_settings


@watcher_task("detect_anomalies_task", status="Processing anomaly detection...")
def detect_anomalies_task(pipeline_id: int, pipeline_execution_id: int) -> dict[str, int]:
    """Judge a successful execution by its pipeline's rules."""
    max_age = get_settings().alert_max_age_hours
    with task_transaction() as connection:
        anomalies = detect_anomalies(connection, pipeline_id, pipeline_execution_id, alert_max_age_hours=max_age)
    return {"anomalies_found": len(anomalies)}
