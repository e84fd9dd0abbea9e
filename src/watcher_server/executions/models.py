"""Executions of pipelines, and the closure of their parent-child tree."""

from datetime import date, timedelta
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, SmallInteger, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, Timestamp


class PipelineExecution(Base):
    """One run of a pipeline: running while ``end_date`` is null.

    ``date_recorded`` and ``hour_recorded`` are the start's, in UTC; ``duration_seconds`` is whole seconds,
    ``throughput`` rows per second. ``output`` is what its command printed, as far as it was sent. ``anomaly_flags``
    maps a metric to true (flagged) or false (unflagged by hand).

    ``outcome`` is ``lost`` for a run that was silent for too long and was ended by Watcher, ``aborted`` for one that
    was stopped, or not begun because of another one, and ``retried`` for a try that failed and is tried again; null for
    one that succeeded, failed, or still runs. ``backfill``: it loads the past. ``nothing_to_do``: it looked, and there
    was nothing to write.

    ``start_date`` and ``end_date`` are never in the future. A date that was, by a wrong clock, counts as the moment at
    which it arrived; ``start_skew`` and ``end_skew`` are how far ahead of that it was: added, they give what was sent.
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
    outcome: Mapped[str | None] = mapped_column(String(10))
    heard_at: Mapped[Timestamp | None]
    start_skew: Mapped[timedelta | None]
    end_skew: Mapped[timedelta | None]
    backfill: Mapped[bool] = mapped_column(server_default=text("false"))
    nothing_to_do: Mapped[bool] = mapped_column(server_default=text("false"))
    # Only the page of the run shows it.
    output: Mapped[str | None] = mapped_column(Text, deferred=True)
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
        # Reports and retention go by start.
        Index("ix_pipeline_execution_start_date", "start_date"),
        # The timeliness check goes by end: a run that began long ago may have ended just now.
        Index("ix_pipeline_execution_ended", "end_date", postgresql_where=text("completed_successfully")),
        Index("ix_pipeline_execution_running", "pipeline_id", "start_date", postgresql_where=text("end_date IS NULL")),
        # When a pipeline last looked and had nothing to write.
        Index(
            "ix_pipeline_execution_nothing_to_do",
            "pipeline_id",
            "end_date",
            postgresql_where=text("nothing_to_do AND completed_successfully AND NOT backfill"),
        ),
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
