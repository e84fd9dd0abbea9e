"""Executions of pipelines, and the closure of their parent-child tree."""

from datetime import date
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, SmallInteger, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, Timestamp


class PipelineExecution(Base):
    """One run of a pipeline: running while ``end_date`` is null.

    ``date_recorded`` and ``hour_recorded`` are the start's, in UTC; ``duration_seconds`` is whole seconds,
    ``throughput`` rows per second. ``anomaly_flags`` maps a metric to true (flagged) or false (unflagged by hand).
    """

    __tablename__ = "pipeline_execution"

    id: Mapped[BigId]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("pipeline_execution.id"))
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    start_date: Mapped[Timestamp]
    end_date: Mapped[Timestamp | None]
    date_recorded: Mapped[date]
    hour_recorded: Mapped[int] = mapped_column(SmallInteger)
    duration_seconds: Mapped[int | None]
    completed_successfully: Mapped[bool | None]
    inserts: Mapped[int | None]
    updates: Mapped[int | None]
    soft_deletes: Mapped[int | None]
    total_rows: Mapped[int | None]
    throughput: Mapped[float | None]
    watermark: Mapped[str | None] = mapped_column(String(50))
    next_watermark: Mapped[str | None] = mapped_column(String(50))
    execution_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    anomaly_flags: Mapped[dict[str, bool]] = mapped_column(JSONB, server_default=text("'{}'"))

    __table_args__ = (
        # The baseline of an anomaly rule: one pipeline, one hour of the day, a window of ends.
        Index(
            "ix_pipeline_execution_baseline",
            "pipeline_id",
            "hour_recorded",
            "end_date",
            postgresql_where=text("completed_successfully"),
        ),
        Index("ix_pipeline_execution_pipeline_id_id", "pipeline_id", "id"),
        # The runs of one pipeline before or after a moment: schedules, wide baselines, what came before an anomaly.
        Index("ix_pipeline_execution_pipeline_id_start_date", "pipeline_id", "start_date"),
        # Lookbacks, reports and retention go by start.
        Index("ix_pipeline_execution_start_date", "start_date"),
        Index("ix_pipeline_execution_running", "pipeline_id", "start_date", postgresql_where=text("end_date IS NULL")),
        Index("ix_pipeline_execution_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        # Each row is updated once, at its end, soon after it was written: room for that on its page.
        {"postgresql_with": {"fillfactor": "80"}},
    )


class PipelineExecutionClosure(Base):
    """(ancestor, descendant, depth) for every pair of an execution tree, each execution with itself included.

    Derived rows without foreign keys: the tree is in ``pipeline_execution``, and the start of every run pays here.
    """

    __tablename__ = "pipeline_execution_closure"

    parent_execution_id: Mapped[int] = mapped_column(primary_key=True)
    child_execution_id: Mapped[int] = mapped_column(primary_key=True)
    depth: Mapped[int] = mapped_column(Integer)

    __table_args__ = (Index("ix_pipeline_execution_closure_child_execution_id", "child_execution_id"),)
