"""The HTTP shapes of retention."""

from typing import Annotated

from pydantic import AfterValidator, Field

from watcher_server.kit.fields import RequestBody, ResponseBody

_SHORTEST_DAYS = 90
# A thousand years; beyond about two thousand the cutoff would lie before the first year.
_LONGEST_DAYS = 365_000
# A larger one would hold its locks for longer than it saves.
_LARGEST_BATCH = 100_000


def _cap(batch_size: int) -> int:
    return min(batch_size, _LARGEST_BATCH)


class CleanupRequest(RequestBody):
    """What to delete: everything older than so many days, in transactions of so many rows at most, and of 100,000.

    A transaction takes fewer rows where it would otherwise hold its locks for long.
    """

    retention_days: Annotated[int, Field(ge=_SHORTEST_DAYS, le=_LONGEST_DAYS)]
    batch_size: Annotated[int, Field(ge=1), AfterValidator(_cap)] = 10_000


class CleanupResult(ResponseBody):
    """Rows deleted. A closure row whose ancestor and descendant both went is counted as the ancestor's."""

    total_pipeline_executions_deleted: int = 0
    total_timeliness_pipeline_execution_logs_deleted: int = 0
    total_anomaly_detection_results_deleted: int = 0
    total_pipeline_execution_closure_parent_deleted: int = 0
    total_pipeline_execution_closure_child_deleted: int = 0
    total_freshness_pipeline_logs_deleted: int = 0
    total_missed_run_logs_deleted: int = 0
    total_anomaly_events_deleted: int = 0
    total_alerts_deleted: int = 0
    total_daily_pipeline_metrics_deleted: int = 0
    total_daily_pipeline_metric_changes_deleted: int = 0
