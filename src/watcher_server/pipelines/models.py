"""Pipelines and their types."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, Integer, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, column_property, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class ThresholdColumns:
    """Freshness and timeliness: how old the data may get, how long a run may take.

    ``mute_until`` is when the mutes end by themselves; null while they have no end.
    """

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
    mute_until: Mapped[Timestamp | None]


class ImportanceColumns:
    """Who has to do with it, how much it matters (low, normal, high), and where it says what to do."""

    owner: Mapped[str | None] = mapped_column(String(150))
    criticality: Mapped[str | None] = mapped_column(String(6))
    runbook_url: Mapped[str | None] = mapped_column(String(500))


def _criticality_is_known() -> CheckConstraint:
    return CheckConstraint("criticality IN ('low', 'normal', 'high')", name="criticality")


def _pairs_are_whole() -> list[CheckConstraint]:
    return [
        CheckConstraint(f"({pair}_number IS NULL) = ({pair}_datepart IS NULL)", name=f"{pair}_pair")
        for pair in ("freshness", "timeliness", "freshness_warning", "timeliness_warning")
    ]


class PipelineType(ThresholdColumns, ImportanceColumns, Base):
    """A kind of pipeline. Its thresholds hold for every pipeline of the type that sets none of its own."""

    __tablename__ = "pipeline_type"
    __table_args__ = (*_pairs_are_whole(), _criticality_is_known())

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(150), unique=True)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]


class Pipeline(ThresholdColumns, ImportanceColumns, Base):
    """A program that reads data and writes data, run after run.

    ``name`` is in lower case and Unicode's form NFC; ``display_name`` is the spelling that it was first sent in, null
    where that is the name itself. ``shown_name`` is what pages and messages call it.

    One that is in the archive, since ``archived_at``, is nowhere but in the list of what is archived, and no check
    looks at it. ``active`` is as it was before, and as it will be again. One that is forgotten, since ``forgotten_at``,
    is being deleted: it is in the archive, and nothing brings it back.

    ``watermark`` is how far the last successful run got, ``next_watermark`` how far the next run is to get.
    ``watermark_start_date`` is when the run began that set the watermark; null when it was set by hand.

    ``schedule`` is five-field cron in ``schedule_timezone`` (IANA). ``expected_next_run`` is the earliest expected
    run that has neither started nor been missed, ``last_missed_run`` when the latest missed run was expected.
    ``due_since`` is the first run that was due since the pipeline last wrote, as the schedule check saw it: it means
    something only while no write is later. Only time on the days of ``freshness_calendar`` (``mon-fri``; null: on every
    day) counts for freshness, in the zone of the schedule.
    ``fail_after`` is how many runs in a row have to fail before that is an incident. ``max_concurrent`` is how many
    runs may be open at once; null: no limit of its own. ``overlap`` says what the scheduler does while a run is still
    open: ``skip`` starts no second one, ``expected`` starts it all the same. ``lost_after_hours`` is how long a run may
    be silent; null: as the setting says. With ``monotonic_watermark`` a lower watermark never replaces a higher one.

    ``last_output`` is when the last successful run ended that wrote something, and did not say how many rows.
    ``openlineage`` is what events of OpenLineage say of it; null if none came.

    Anybody who knows ``ping_uuid`` may report runs of the pipeline. Its URL is shown to people, so it is not hashed.
    ``ping_slug`` is the name as it stands in the URL of a ping key; two names may have the same.
    """

    __tablename__ = "pipeline"
    # Every successful run updates its pipeline's row: room on the page keeps that update off the indexes.
    __table_args__ = (
        *_pairs_are_whole(),
        _criticality_is_known(),
        CheckConstraint("fail_after >= 1", name="fail_after"),
        CheckConstraint("max_concurrent >= 1", name="max_concurrent"),
        CheckConstraint("overlap IN ('skip', 'expected')", name="overlap"),
        CheckConstraint("lost_after_hours > 0", name="lost_after_hours"),
        Index(None, "expected_next_run", postgresql_where=text("expected_next_run IS NOT NULL")),
        # The few whose mutes end by themselves.
        Index(None, "mute_until", postgresql_where=text("mute_until IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(1000), unique=True)
    display_name: Mapped[str | None] = mapped_column(String(1000))
    shown_name: Mapped[str] = column_property(func.coalesce(display_name, name))
    archived_at: Mapped[Timestamp | None]
    forgotten_at: Mapped[Timestamp | None]
    pipeline_type_id: Mapped[int] = mapped_column(ForeignKey("pipeline_type.id"), index=True)
    watermark: Mapped[str | None] = mapped_column(String(50))
    next_watermark: Mapped[str | None] = mapped_column(String(50))
    pipeline_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    last_target_insert: Mapped[Timestamp | None]
    last_target_update: Mapped[Timestamp | None]
    last_target_soft_delete: Mapped[Timestamp | None]
    last_output: Mapped[Timestamp | None]
    watermark_start_date: Mapped[Timestamp | None]
    schedule: Mapped[str | None] = mapped_column(String(100))
    schedule_timezone: Mapped[str] = mapped_column(String(50), server_default=text("'UTC'"))
    schedule_grace_minutes: Mapped[int] = mapped_column(Integer, server_default=text("10"))
    expected_next_run: Mapped[Timestamp | None]
    last_missed_run: Mapped[Timestamp | None]
    due_since: Mapped[Timestamp | None]
    freshness_calendar: Mapped[str | None] = mapped_column(String(50))
    fail_after: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    max_concurrent: Mapped[int | None] = mapped_column(Integer)
    overlap: Mapped[str] = mapped_column(String(8), server_default=text("'skip'"))
    lost_after_hours: Mapped[float | None]
    monotonic_watermark: Mapped[bool] = mapped_column(server_default=text("false"))
    load_lineage: Mapped[bool] = mapped_column(server_default=text("true"))
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    ping_uuid: Mapped[UUID] = mapped_column(unique=True, server_default=func.gen_random_uuid())
    ping_slug: Mapped[str | None] = mapped_column(
        Text, Computed("trim(both '-' from regexp_replace(name, '[^a-z0-9_]+', '-', 'g'))", persisted=True), index=True
    )
    openlineage: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]
