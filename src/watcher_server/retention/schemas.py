"""The HTTP shapes of retention."""

from typing import Annotated

from pydantic import AfterValidator, Field

from watcher_server.kit.fields import RequestBody, ResponseBody


class CleanupRequest(RequestBody):
    """What to delete: everything older than ``retention_days``, in transactions of at most ``batch_size`` rows.

    More than 100,000 counts as 100,000. A transaction takes fewer rows when it would hold its locks for too long.
    """

    # At most a thousand years; with about two thousand the cutoff would lie before the first year.
    retention_days: Annotated[int, Field(ge=90, le=365_000)]
    batch_size: Annotated[int, Field(ge=1), AfterValidator(lambda size: min(size, 100_000))] = 10_000


class CleanupResult(ResponseBody):
    """Rows deleted. A closure row whose ancestor and descendant were both deleted counts as the ancestor's."""

    total_pipeline_executions_deleted: int = 0
    total_timeliness_pipeline_execution_logs_deleted: int = 0
    total_anomaly_detection_results_deleted: int = 0
    total_pipeline_execution_closure_parent_deleted: int = 0
    total_pipeline_execution_closure_child_deleted: int = 0
    total_freshness_pipeline_logs_deleted: int = 0
    total_missed_run_logs_deleted: int = 0
    total_anomaly_events_deleted: int = 0
    total_alerts_deleted: int = 0
    total_incidents_deleted: int = 0
    total_daily_pipeline_metrics_deleted: int = 0
    total_daily_pipeline_metric_changes_deleted: int = 0
    total_dbt_artifacts_deleted: int = 0
