"""Pipelines and their types."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class ThresholdColumns:
    """Freshness and timeliness: how old the data may get, how long a run may take."""

    freshness_number: Mapped[int | None] = mapped_column(Integer)
    freshness_datepart: Mapped[str | None] = mapped_column(String(10))
    mute_freshness_check: Mapped[bool] = mapped_column(server_default=text("false"))
    timeliness_number: Mapped[int | None] = mapped_column(Integer)
    timeliness_datepart: Mapped[str | None] = mapped_column(String(10))
    mute_timeliness_check: Mapped[bool] = mapped_column(server_default=text("false"))
    freshness_warning_number: Mapped[int | None] = mapped_column(Integer)
    freshness_warning_datepart: Mapped[str | None] = mapped_column(String(10))
    timeliness_warning_number: Mapped[int | None] = mapped_column(Integer)
    timeliness_warning_datepart: Mapped[str | None] = mapped_column(String(10))


def _pairs_are_whole() -> list[CheckConstraint]:
    return [
        CheckConstraint(f"({pair}_number IS NULL) = ({pair}_datepart IS NULL)", name=f"{pair}_pair")
        for pair in ("freshness", "timeliness", "freshness_warning", "timeliness_warning")
    ]


class PipelineType(ThresholdColumns, Base):
    """A kind of pipeline; its thresholds hold for every pipeline that sets none of its own."""

    __tablename__ = "pipeline_type"
    __table_args__ = tuple(_pairs_are_whole())

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(150), unique=True)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]


class Pipeline(ThresholdColumns, Base):
    """Something that reads data and writes data, again and again.

    ``watermark`` is how far the last successful run got, ``next_watermark`` how far the next one means to get;
    ``watermark_start_date`` is when the run began that set the watermark, null when a person did.

    ``schedule`` is five-field cron in ``schedule_timezone`` (IANA). ``expected_next_run`` is the earliest run that is
    neither seen nor missed yet, ``last_missed_run`` when the latest missed one was expected.
    """

    __tablename__ = "pipeline"
    # Every successful run updates its pipeline's row: room on the page keeps that update off the indexes.
    __table_args__ = (
        *_pairs_are_whole(),
        Index(None, "expected_next_run", postgresql_where=text("expected_next_run IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(150), unique=True)
    pipeline_type_id: Mapped[int] = mapped_column(ForeignKey("pipeline_type.id"), index=True)
    watermark: Mapped[str | None] = mapped_column(String(50))
    next_watermark: Mapped[str | None] = mapped_column(String(50))
    pipeline_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    last_target_insert: Mapped[Timestamp | None]
    last_target_update: Mapped[Timestamp | None]
    last_target_soft_delete: Mapped[Timestamp | None]
    watermark_start_date: Mapped[Timestamp | None]
    schedule: Mapped[str | None] = mapped_column(String(100))
    schedule_timezone: Mapped[str] = mapped_column(String(50), server_default=text("'UTC'"))
    schedule_grace_minutes: Mapped[int] = mapped_column(Integer, server_default=text("10"))
    expected_next_run: Mapped[Timestamp | None]
    last_missed_run: Mapped[Timestamp | None]
    load_lineage: Mapped[bool] = mapped_column(server_default=text("true"))
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]
