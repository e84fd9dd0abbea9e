"""Pipelines as pages show them, each with the thresholds in force."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.schedules.planning import next_run


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and its unit; ``own`` says that the pipeline sets it itself, not its type."""

    number: int
    datepart: str
    own: bool

    def __str__(self) -> str:
        return f"{self.number:,} {self.datepart}{'' if self.number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a check compares with, and what mutes it: the pipeline, its type, or None.

    ``seconds`` and ``warning_seconds`` are the intervals from where they count now; None for one that never ends.
    """

    failure: Interval | None
    warning: Interval | None
    muted_by: str | None
    seconds: float | None
    warning_seconds: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A pipeline. Times are UTC.

    ``namespace`` is that of its job, where events of OpenLineage say it; its name begins with it then.
    ``expected_next_run`` is its next run, never in the past. Freshness counts from ``counted_from``: with a schedule
    the first run that was or is due since its last write, else that write, ``last_looked`` (when it last had nothing to
    do) if that is later, or its creation. ``stale_at`` is when its data gets, or got, stale; None without a
    threshold, when no calendar has that day, or until the next run is known.
    """

    id: int
    name: str
    namespace: str | None
    type_name: str
    active: bool
    tags: tuple[str, ...]
    schedule: str | None
    schedule_timezone: str
    expected_next_run: datetime | None
    last_write: datetime | None
    last_looked: datetime | None
    freshness_calendar: str | None
    counted_from: datetime
    stale_at: datetime | None
    freshness: Threshold
    timeliness: Threshold


# By the primary key. A timeliness threshold of calendar months counts from the start of the latest run, the first that
# ix_pipeline_execution_pipeline_id_start_date yields.
_SUMMARIES = """
SELECT pipeline.id, coalesce(pipeline.display_name, pipeline.name) AS name,
    (SELECT openlineage ->> 'namespace' FROM pipeline AS stored WHERE stored.id = pipeline.id) AS namespace,
    type_name, active, tags, schedule, schedule_timezone, expected_next_run,
    last_write, last_looked, freshness_calendar, counted_from, stale_at, freshness_muted_by, timeliness_muted_by,
    freshness_number, freshness_datepart, freshness_own,
    freshness_warning_number, freshness_warning_datepart, freshness_warning_own,
    timeliness_number, timeliness_datepart, timeliness_own,
    timeliness_warning_number, timeliness_warning_datepart, timeliness_warning_own,
    extract(epoch FROM stale_at - counted_from)::float AS freshness_seconds,
    extract(epoch FROM stale_warning_at - counted_from)::float AS freshness_warning_seconds,
    extract(epoch FROM watcher_due(began, timeliness_number, timeliness_datepart) - began)::float
        AS timeliness_seconds,
    extract(epoch FROM watcher_due(began, timeliness_warning_number, timeliness_warning_datepart) - began)::float
        AS timeliness_warning_seconds
FROM unnest(CAST(:pipeline_ids AS bigint[])) WITH ORDINALITY AS wanted (id, place)
JOIN pipeline_effective AS pipeline USING (id)
CROSS JOIN LATERAL (
    SELECT coalesce((
        SELECT start_date FROM pipeline_execution AS execution WHERE execution.pipeline_id = pipeline.id
        ORDER BY start_date DESC LIMIT 1
    ), now())
) AS latest (began)
ORDER BY place
"""


async def read_summaries(session: AsyncSession, pipeline_ids: Collection[int]) -> list[Summary]:
    """These pipelines in this order; ids of no pipeline are left out."""
    rows = await session.execute(text(_SUMMARIES), {"pipeline_ids": list(pipeline_ids)})
    return [_summary(row) for row in rows]


def _summary(row: Row[Any]) -> Summary:
    return Summary(
        id=row.id,
        name=row.name,
        namespace=row.namespace,
        type_name=row.type_name,
        active=row.active,
        tags=tuple(sorted(set(row.tags))),
        schedule=row.schedule,
        schedule_timezone=row.schedule_timezone,
        expected_next_run=next_run(row.schedule, row.schedule_timezone, row.expected_next_run),
        last_write=row.last_write,
        last_looked=row.last_looked,
        freshness_calendar=row.freshness_calendar,
        counted_from=row.counted_from,
        stale_at=row.stale_at,
        freshness=_threshold(row, "freshness"),
        timeliness=_threshold(row, "timeliness"),
    )


def _threshold(row: Row[Any], check: str) -> Threshold:
    return Threshold(
        failure=_interval(row, check),
        warning=_interval(row, f"{check}_warning"),
        muted_by=getattr(row, f"{check}_muted_by"),
        seconds=getattr(row, f"{check}_seconds"),
        warning_seconds=getattr(row, f"{check}_warning_seconds"),
    )


def _interval(row: Row[Any], pair: str) -> Interval | None:
    number = getattr(row, f"{pair}_number")
    return None if number is None else Interval(number, getattr(row, f"{pair}_datepart"), getattr(row, f"{pair}_own"))
