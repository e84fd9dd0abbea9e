"""Every task, under its documented name."""

from watcher_server.alerts.tasks import deliver_alert_task, redeliver_alerts_task
from watcher_server.anomalies.tasks import detect_anomalies_task
from watcher_server.archive.tasks import forget_task, revive_task
from watcher_server.executions.tasks import pipeline_execution_closure_maintain_task
from watcher_server.freshness.tasks import freshness_check_task
from watcher_server.incidents.tasks import celery_queue_health_check_task, judge_failure_task, sweep_incidents_task
from watcher_server.lineage.tasks import address_lineage_closure_rebuild_task
from watcher_server.missed_runs.tasks import schedule_check_task
from watcher_server.openlineage.tasks import openlineage_apply_task
from watcher_server.reporting.tasks import daily_metrics_task
from watcher_server.retention.tasks import retention_task
from watcher_server.timeliness.tasks import timeliness_check_task

__all__ = [
    "address_lineage_closure_rebuild_task",
    "celery_queue_health_check_task",
    "daily_metrics_task",
    "deliver_alert_task",
    "detect_anomalies_task",
    "forget_task",
    "freshness_check_task",
    "judge_failure_task",
    "openlineage_apply_task",
    "pipeline_execution_closure_maintain_task",
    "redeliver_alerts_task",
    "retention_task",
    "revive_task",
    "schedule_check_task",
    "sweep_incidents_task",
    "timeliness_check_task",
]
