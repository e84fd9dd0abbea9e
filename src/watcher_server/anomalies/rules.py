"""Anomaly detection rules: one per pipeline and metric."""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

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


class Method(StrEnum):
    """How the expected range is learnt: from a mean, a median, or the level, day and week of the whole series."""

    ZSCORE = "zscore"
    MAD = "mad"
    SEASONAL = "seasonal"


class Seasonality(StrEnum):
    """Which earlier runs a run is like: those that started in the same hour, weekday or hour of the week (UTC)."""

    HOUR = "hour"
    NONE = "none"
    WEEKDAY = "weekday"
    HOUR_OF_WEEK = "hour_of_week"


class Direction(StrEnum):
    """On which side of the expected range a value is an anomaly."""

    BOTH = "both"
    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True)
class Rule:
    """A rule as a judgement needs it; ``normal_from`` and ``normal_until`` bound the runs of an accepted new normal."""

    id: int
    metric: str
    z_threshold: float
    lookback_days: int
    minimum_executions: int
    method: str
    seasonality: str
    direction: str
    minimum_std_percent: float
    minimum_std: float
    new_normal_after: int | None
    normal_from: datetime | None
    normal_until: datetime | None
    learning: bool

    @classmethod
    def of(cls, row: Any, *, metric: str) -> Self:
        """The rule of any row that names its other columns as the table does."""
        others = {field.name: getattr(row, field.name) for field in fields(cls) if field.name != "metric"}
        return cls(metric=metric, **others)


async def create_rules_for_all_metrics(session: AsyncSession, pipeline_id: int) -> None:
    """One rule per metric, with the defaults of the table."""
    rules = [{"pipeline_id": pipeline_id, "metric_field": metric.value} for metric in Metric]
    await session.execute(insert(AnomalyDetectionRule).values(rules).on_conflict_do_nothing())
