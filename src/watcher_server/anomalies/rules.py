"""Anomaly detection rules: one per pipeline and metric."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.budget import LEAST_THRESHOLD
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


# The next wider kind of runs, for while one holds too few values.
WIDER = {
    Seasonality.HOUR_OF_WEEK: Seasonality.HOUR,
    Seasonality.HOUR: Seasonality.NONE,
    Seasonality.WEEKDAY: Seasonality.NONE,
}

# Those that tell weekdays apart, and holidays from them.
DAILY = {Seasonality.WEEKDAY, Seasonality.HOUR_OF_WEEK}


class Direction(StrEnum):
    """On which side of the expected range a value is an anomaly."""

    BOTH = "both"
    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True)
class Rule:
    """A rule as a judgement needs it.

    ``z_threshold`` is the one in force: of a rule with ``alarms_per_month``, what was found to keep to that.
    ``normal_from`` and ``normal_until`` bound the runs of an accepted new normal.
    """

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
    alarms_per_month: float | None = None
    alarm_threshold_due: datetime | None = None
    holidays: Sequence[str] = ()

    @property
    def outlier(self) -> float:
        """From which z-score on a value that was not flagged may be left out of the baseline."""
        return self.z_threshold if self.alarms_per_month is None else LEAST_THRESHOLD

    def is_due(self, ended_at: datetime) -> bool:
        """Whether its threshold is to be found anew before a run that ended then is judged."""
        due = self.alarm_threshold_due
        return self.alarms_per_month is not None and (due is None or due <= ended_at)

    @classmethod
    def of(cls, row: Any, *, metric: str) -> Self:
        """The rule of any row that names its other columns as the table does."""
        others = {name: getattr(row, name) for name in _COLUMNS}
        if row.alarms_per_month is not None:
            others["z_threshold"] = row.alarm_threshold or LEAST_THRESHOLD
        return cls(metric=metric, **others)


_COLUMNS = tuple(field.name for field in fields(Rule) if field.name != "metric")


async def create_rules_for_all_metrics(session: AsyncSession, pipeline_id: int) -> None:
    """One rule per metric, with the defaults of the table."""
    rules = [{"pipeline_id": pipeline_id, "metric_field": metric.value} for metric in Metric]
    await session.execute(insert(AnomalyDetectionRule).values(rules).on_conflict_do_nothing())
