"""Figures of days that are over, summed once."""

from datetime import date
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base


class DailyPipelineMetric(Base):
    """What one pipeline did on one day (UTC): counts of executions and sums of their numbers, null where none had one.

    Derived rows without foreign keys: the executions are the truth, and may be gone by retention.
    """

    __tablename__ = "daily_pipeline_metric"

    date_recorded: Mapped[date] = mapped_column(primary_key=True)
    pipeline_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    total_executions: Mapped[int]
    ended_executions: Mapped[int]
    failed_executions: Mapped[int]
    inserts: Mapped[Decimal | None] = mapped_column(Numeric)
    updates: Mapped[Decimal | None] = mapped_column(Numeric)
    soft_deletes: Mapped[Decimal | None] = mapped_column(Numeric)
    total_rows: Mapped[Decimal | None] = mapped_column(Numeric)
    duration_seconds: Mapped[Decimal | None] = mapped_column(Numeric)
    measured_durations: Mapped[int]


class DailyPipelineMetricChange(Base):
    """A day of a pipeline that changed since it was summed; until it is summed again, reports read its executions."""

    __tablename__ = "daily_pipeline_metric_change"

    date_recorded: Mapped[date] = mapped_column(primary_key=True)
    pipeline_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class DailyPipelineMetricProgress(Base):
    """The progress of the sums, in one row: days from ``summed_since`` on and before ``summed_before`` are summed.

    Days before ``summed_since`` may be, and may not: reports read their executions. None: no day is summed.

    Days before ``watched_before`` were over for an hour at the last look, and are the next to be summed.
    """

    __tablename__ = "daily_pipeline_metric_progress"
    __table_args__ = (CheckConstraint('"only"', name="only"),)

    only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    watched_before: Mapped[date]
    summed_before: Mapped[date]
    summed_since: Mapped[date | None]
