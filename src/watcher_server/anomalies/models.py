"""Anomaly detection rules, and what they found."""

from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class AnomalyDetectionRule(Base):
    """Judge one metric of one pipeline's successful runs against its own history.

    ``learning`` says that the latest judgement had too few values for a verdict. Runs that ended from ``normal_from``
    on are the new normal: older ones no longer count, and those up to ``normal_until`` count although flagged.
    """

    __tablename__ = "anomaly_detection_rule"
    __table_args__ = (
        UniqueConstraint("pipeline_id", "metric_field"),
        CheckConstraint("z_threshold BETWEEN 1 AND 10", name="z_threshold"),
    )

    id: Mapped[BigId]
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    metric_field: Mapped[str] = mapped_column(String(30))
    z_threshold: Mapped[float] = mapped_column(server_default=text("3.0"))
    lookback_days: Mapped[int] = mapped_column(Integer, server_default=text("30"))
    minimum_executions: Mapped[int] = mapped_column(Integer, server_default=text("30"))
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    method: Mapped[str] = mapped_column(String(12), server_default=text("'zscore'"))
    seasonality: Mapped[str] = mapped_column(String(12), server_default=text("'hour'"))
    direction: Mapped[str] = mapped_column(String(4), server_default=text("'both'"))
    # The least standard deviation: in percent of the mean, and in the unit of the metric.
    minimum_std_percent: Mapped[float] = mapped_column(server_default=text("1"))
    minimum_std: Mapped[float] = mapped_column(server_default=text("1"))
    # After this number of consecutive flags on one side, their level is the new normal; null for never.
    new_normal_after: Mapped[int | None] = mapped_column(Integer, server_default=text("10"))
    # In place of a z: how often it may alarm, the threshold that was found for that, and when it is found anew.
    alarms_per_month: Mapped[float | None]
    alarm_threshold: Mapped[float | None]
    alarm_threshold_due: Mapped[Timestamp | None]
    # Dates and countries: see anomalies/holidays.py.
    holidays: Mapped[list[str]] = mapped_column(ARRAY(String(10)), server_default=text("'{}'"))
    normal_from: Mapped[Timestamp | None]
    normal_until: Mapped[Timestamp | None]
    # Those that were replaced, the latest last: each with "from", "until" and "replaced_at".
    former_normals: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    learning: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]


class UnflaggedAnomaly(Base):
    """A flag that a person cleared, with the rows of its result and event, so that it can be put back."""

    __tablename__ = "unflagged_anomaly"

    pipeline_execution_id: Mapped[int] = mapped_column(
        ForeignKey("pipeline_execution.id", ondelete="CASCADE"), primary_key=True
    )
    rule_id: Mapped[int] = mapped_column(
        ForeignKey("anomaly_detection_rule.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    metric_field: Mapped[str] = mapped_column(String(30))
    result: Mapped[dict[str, Any]] = mapped_column(JSONB)
    event: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    unflagged_at: Mapped[CreatedAt]


class AnomalyEvent(Base):
    """Consecutive runs that one rule flagged on one side (``direction`` is high or low): alerted once.

    ``started_at`` and ``last_at`` are the ends of its first and latest run; the executions may be gone by retention.
    """

    __tablename__ = "anomaly_event"
    __table_args__ = (
        Index("ix_anomaly_event_rule_id_last_at", "rule_id", "last_at"),
        # The newest events of all pipelines, and of some of them.
        Index(None, "last_at"),
        Index("ix_anomaly_event_pipeline_id_last_at", "pipeline_id", "last_at"),
    )

    id: Mapped[BigId]
    rule_id: Mapped[int] = mapped_column(ForeignKey("anomaly_detection_rule.id"))
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    metric_field: Mapped[str] = mapped_column(String(30))
    direction: Mapped[str] = mapped_column(String(4))
    first_execution_id: Mapped[int]
    last_execution_id: Mapped[int]
    started_at: Mapped[Timestamp]
    last_at: Mapped[Timestamp]
    execution_count: Mapped[int] = mapped_column(Integer)
    alerted: Mapped[bool] = mapped_column(server_default=text("false"))
    accepted_at: Mapped[Timestamp | None]


class AnomalyDetectionResult(Base):
    """One anomaly: the value, what was expected, and from how many runs that was learnt."""

    __tablename__ = "anomaly_detection_result"
    __table_args__ = (UniqueConstraint("rule_id", "pipeline_execution_id"),)

    id: Mapped[BigId]
    rule_id: Mapped[int] = mapped_column(ForeignKey("anomaly_detection_rule.id"))
    pipeline_execution_id: Mapped[int] = mapped_column(
        ForeignKey("pipeline_execution.id", ondelete="CASCADE"), index=True
    )
    metric_field: Mapped[str] = mapped_column(String(30))
    violation_value: Mapped[float]
    z_score: Mapped[float]
    historical_mean: Mapped[float]
    historical_std: Mapped[float]
    z_threshold: Mapped[float]
    lower_bound: Mapped[float]
    upper_bound: Mapped[float]
    execution_count: Mapped[int] = mapped_column(Integer)
    context: Mapped[dict[str, Any]] = mapped_column(JSONB)
    event_id: Mapped[int | None] = mapped_column(ForeignKey("anomaly_event.id"), index=True)
    detected_at: Mapped[CreatedAt]
