"""Anomaly detection rules: one per pipeline and metric."""

from enum import StrEnum

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyDetectionRule


class Metric(StrEnum):
    """A number of an execution that can be judged."""

    DURATION_SECONDS = "duration_seconds"
    INSERTS = "inserts"
    UPDATES = "updates"
    SOFT_DELETES = "soft_deletes"
    TOTAL_ROWS = "total_rows"
    THROUGHPUT = "throughput"


async def create_rules_for_all_metrics(session: AsyncSession, pipeline_id: int) -> None:
    """One rule per metric, with the defaults of the table."""
    rules = [{"pipeline_id": pipeline_id, "metric_field": metric.value} for metric in Metric]
    await session.execute(insert(AnomalyDetectionRule).values(rules).on_conflict_do_nothing())
