"""Pipelines as they are read: their columns, and how each stands by its schedule."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.schedules.cron import Schedule
from watcher_server.schedules.windows import opens_at

_NO_FILTER = {
    "pipeline_id": None,
    "name": None,
    "pipeline_type_id": None,
    "active": None,
    "state": None,
    "limit": None,
    "offset": None,
}


class PipelineState(StrEnum):
    """How a pipeline stands; the first that is true of it."""

    PAUSED = "paused"
    RUNNING = "running"
    MISSED = "missed"
    LATE = "late"
    ON_TIME = "on_time"


# One pass over the pipelines. Those that share a schedule share its moments, so these are few.
_FIND_MOMENTS = """
SELECT DISTINCT schedule, schedule_timezone AS zone, schedule_grace_minutes AS grace, moment
FROM pipeline CROSS JOIN LATERAL (
    VALUES (last_missed_run), (CASE WHEN expected_next_run <= now() THEN expected_next_run END)
) AS due (moment)
WHERE schedule IS NOT NULL AND active AND moment IS NOT NULL
    AND (CAST(:pipeline_id AS bigint) IS NULL OR pipeline.id = :pipeline_id)
"""

# What fits every filter fits none: a plan for any parameters takes the pipelines for a few, and compares each of them
# with every moment.
_PLAN_FOR_THESE_FILTERS = "SET LOCAL plan_cache_mode = force_custom_plan"

# Running ones by ix_pipeline_execution_running, starts by ix_pipeline_execution_pipeline_id_start_date. Missed is what
# a check has found so, and what the next one will find.
_FIND_WITH_STATE = """
WITH opening AS (
    SELECT * FROM unnest(
        CAST(:schedules AS text[]), CAST(:zones AS text[]), CAST(:graces AS integer[]),
        CAST(:moments AS timestamptz[]), CAST(:opens AS timestamptz[])
    ) AS opening (schedule, zone, grace, moment, opens)
), due AS (
    SELECT pipeline.*,
        coalesce(missed.opens, last_missed_run) AS missed_opens,
        CASE WHEN expected_next_run <= now() THEN coalesce(expected.opens, expected_next_run) END AS expected_opens
    FROM pipeline
    LEFT JOIN opening AS missed ON missed.schedule = pipeline.schedule
        AND missed.zone = schedule_timezone AND missed.grace = schedule_grace_minutes
        AND missed.moment = last_missed_run
    LEFT JOIN opening AS expected ON expected.schedule = pipeline.schedule
        AND expected.zone = schedule_timezone AND expected.grace = schedule_grace_minutes
        AND expected.moment = expected_next_run
    WHERE (CAST(:pipeline_id AS bigint) IS NULL OR pipeline.id = :pipeline_id)
        AND (CAST(:name AS text) IS NULL OR pipeline.name LIKE :name)
        AND (CAST(:pipeline_type_id AS bigint) IS NULL OR pipeline_type_id = :pipeline_type_id)
        AND (CAST(:active AS boolean) IS NULL OR active = :active)
), stated AS (
    SELECT due.*, CASE
        WHEN NOT active THEN 'paused'
        WHEN EXISTS (
            SELECT FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = due.id AND end_date IS NULL
        ) THEN 'running'
        WHEN schedule IS NULL THEN NULL
        WHEN missed_opens IS NOT NULL AND NOT EXISTS (
            SELECT FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = due.id AND execution.start_date >= missed_opens
        ) THEN 'missed'
        WHEN expected_opens IS NOT NULL AND NOT EXISTS (
            SELECT FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = due.id AND execution.start_date >= expected_opens
        ) THEN CASE
            WHEN expected_next_run + make_interval(mins => schedule_grace_minutes) < now() THEN 'missed'
            ELSE 'late' END
        ELSE 'on_time' END AS state
    FROM due
)
SELECT * FROM stated
WHERE CAST(:state AS text) IS NULL OR state = :state
ORDER BY id LIMIT CAST(:limit AS bigint) OFFSET CAST(:offset AS bigint)
"""


async def find_with_state(session: AsyncSession, **wanted: Any) -> Sequence[Row[Any]]:
    """The columns of pipelines and their ``state``, by id; all of them but for what is wanted.

    When a run may start is cron's matter, which SQL does not know: so this reads the moments that matter first, and
    then the pipelines with what follows from them.

    Args:
        session: in whose transaction it reads.
        wanted: ``pipeline_id``, ``name`` (a LIKE pattern), ``pipeline_type_id``, ``active``, ``state``; ``limit`` and
            ``offset`` in rows.
    """
    await session.execute(text(_PLAN_FOR_THESE_FILTERS))
    found = await session.execute(text(_FIND_MOMENTS), {"pipeline_id": wanted.get("pipeline_id")})
    moments = found.all()
    parameters = {
        "schedules": [row.schedule for row in moments],
        "zones": [row.zone for row in moments],
        "graces": [row.grace for row in moments],
        "moments": [row.moment for row in moments],
        "opens": [_opens(row) for row in moments],
    }
    return (await session.execute(text(_FIND_WITH_STATE), _NO_FILTER | wanted | parameters)).all()


def _opens(row: Row[Any]) -> datetime | None:
    """From when on a run counts as the one of that moment; None, for that moment itself, without its zone."""
    try:
        return opens_at(Schedule(row.schedule, row.zone), timedelta(minutes=row.grace), row.moment)
    except ZoneInfoNotFoundError:
        # Which the schedule check logs.
        return None
