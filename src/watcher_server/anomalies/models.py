"""Anomaly detection rules, and what they found."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Integer, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class AnomalyDetectionRule(Base):
    """Judge one metric of one pipeline's successful runs against its own history."""

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
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]


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
    detected_at: Mapped[CreatedAt]
