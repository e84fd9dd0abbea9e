"""What the list shows of the pipelines on one page, read as they are now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.pipelines.board import BoardRow, shown_status
from watcher_server.pipelines.status import Condition, read_conditions
from watcher_server.web.pipelines import bars, glances
from watcher_server.web.pipelines.bars import Bars, Run, draw_bars
from watcher_server.web.pipelines.glances import Glance, Limits
from watcher_server.web.pipelines.listing import next_due

_TOLD_APART = ("failed", "missed", "overdue", "stale", "anomalous", "running")


@dataclass(frozen=True, slots=True)
class PipelineRow:
    """One row of the list. ``also`` is what holds of it besides its status; ``due`` is what is due at ``due_at``."""

    id: int
    name: str
    type_name: str
    tags: Sequence[str]
    active: bool
    status: str
    also: Sequence[str]
    bars: Bars
    last_start: datetime | None
    last_seconds: int | None
    last_write: datetime | None
    freshness: Glance
    timeliness: Glance
    schedule: str | None
    schedule_timezone: str
    due: str
    due_at: datetime | None


# By the primary key; the start of the latest run, from which a threshold of calendar months counts, is the first that
# ix_pipeline_execution_pipeline_id_start_date yields. A deadline that never comes, or that no calendar has, is none.
_FACTS = """
SELECT pipeline.id, pipeline.name, pipeline.active, pipeline_type.name AS type_name,
    pipeline.schedule, pipeline.schedule_timezone, pipeline.expected_next_run,
    jsonb_path_query_array(pipeline_metadata, '$.tags[*] ? (@.type() == "string")') AS tags,
    pipeline.mute_freshness_check, pipeline_type.mute_freshness_check AS type_mutes_freshness,
    pipeline.mute_timeliness_check, pipeline_type.mute_timeliness_check AS type_mutes_timeliness,
    pipeline.freshness_number, pipeline.freshness_datepart,
    pipeline_type.freshness_number AS type_freshness_number,
    pipeline_type.freshness_datepart AS type_freshness_datepart,
    pipeline.timeliness_number, pipeline.timeliness_datepart,
    pipeline_type.timeliness_number AS type_timeliness_number,
    pipeline_type.timeliness_datepart AS type_timeliness_datepart,
    written.last_write, written.counted_from,
    CASE WHEN stale_at < '9999-01-01' THEN stale_at END AS stale_at,
    CASE WHEN stale_at < '9999-01-01' THEN extract(epoch FROM stale_at - counted_from)::float END AS fresh_seconds,
    CASE WHEN warned_at < '9999-01-01' THEN extract(epoch FROM warned_at - counted_from)::float END AS warned_seconds,
    CASE WHEN overdue_at < '9999-01-01' THEN extract(epoch FROM overdue_at - began)::float END AS timely_seconds,
    CASE WHEN slow_at < '9999-01-01' THEN extract(epoch FROM slow_at - began)::float END AS slow_seconds
FROM unnest(CAST(:pipeline_ids AS bigint[])) WITH ORDINALITY AS wanted (id, place)
JOIN pipeline USING (id)
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
LEFT JOIN LATERAL (
    SELECT start_date FROM pipeline_execution AS execution WHERE execution.pipeline_id = pipeline.id
    ORDER BY start_date DESC LIMIT 1
) AS latest ON true
CROSS JOIN LATERAL (
    SELECT greatest(last_target_insert, last_target_update, last_target_soft_delete),
        coalesce(greatest(last_target_insert, last_target_update, last_target_soft_delete), pipeline.created_at),
        coalesce(latest.start_date, now())
) AS written (last_write, counted_from, began)
CROSS JOIN LATERAL (
    SELECT watcher_deadline(counted_from, coalesce(pipeline.freshness_number, pipeline_type.freshness_number),
            coalesce(pipeline.freshness_datepart, pipeline_type.freshness_datepart)),
        watcher_deadline(counted_from,
            coalesce(pipeline.freshness_warning_number, pipeline_type.freshness_warning_number),
            coalesce(pipeline.freshness_warning_datepart, pipeline_type.freshness_warning_datepart)),
        watcher_deadline(began, coalesce(pipeline.timeliness_number, pipeline_type.timeliness_number),
            coalesce(pipeline.timeliness_datepart, pipeline_type.timeliness_datepart)),
        watcher_deadline(began,
            coalesce(pipeline.timeliness_warning_number, pipeline_type.timeliness_warning_number),
            coalesce(pipeline.timeliness_warning_datepart, pipeline_type.timeliness_warning_datepart))
) AS deadline (stale_at, warned_at, overdue_at, slow_at)
ORDER BY place
"""

# By ix_pipeline_execution_pipeline_id_start_date, backwards.
_LATEST_RUNS = """
SELECT wanted.id AS pipeline_id, run.*
FROM unnest(CAST(:pipeline_ids AS bigint[])) WITH ORDINALITY AS wanted (id, place)
CROSS JOIN LATERAL (
    SELECT execution.id, start_date, total_rows,
        greatest(0, coalesce(duration_seconds, extract(epoch FROM coalesce(end_date, now()) - start_date)::bigint))
            AS seconds,
        CASE WHEN end_date IS NULL THEN 'running' WHEN NOT completed_successfully THEN 'failed'
            WHEN jsonb_path_exists(anomaly_flags, '$.* ? (@ == true)') THEN 'anomalous' ELSE 'ok' END AS outcome
    FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = wanted.id
    ORDER BY start_date DESC, execution.id DESC LIMIT :runs
) AS run
ORDER BY place, start_date DESC, run.id DESC
"""


async def read_rows(session: AsyncSession, shown: Sequence[BoardRow]) -> list[PipelineRow]:
    """These pipelines in this order, as they are now; one that is gone is left out."""
    pipeline_ids = [row.id for row in shown]
    if not pipeline_ids:
        return []
    late = {row.id for row in shown if "late" in row.conditions and "overdue" not in row.conditions}
    facts = (await session.execute(text(_FACTS), {"pipeline_ids": pipeline_ids})).all()
    runs = await _read_latest_runs(session, pipeline_ids)
    conditions = await read_conditions(session, pipeline_ids)
    now = datetime.now(UTC)
    return [_row(row, conditions[row.id], runs.get(row.id, []), late=row.id in late, now=now) for row in facts]


async def _read_latest_runs(session: AsyncSession, pipeline_ids: list[int]) -> Mapping[int, list[Run]]:
    found = await session.execute(text(_LATEST_RUNS), {"pipeline_ids": pipeline_ids, "runs": bars.RUNS})
    return {
        pipeline_id: [Run(row.id, row.start_date, row.seconds, row.outcome, row.total_rows) for row in rows]
        for pipeline_id, rows in groupby(found, attrgetter("pipeline_id"))
    }


def _row(row: Row[Any], condition: Condition, runs: list[Run], *, late: bool, now: datetime) -> PipelineRow:
    status = shown_status(condition.status, active=row.active, late=late)
    last = runs[0] if runs else None
    last_seconds = last.seconds if last else None
    muted = row.mute_freshness_check or row.type_mutes_freshness
    write = None if muted else row.stale_at
    return PipelineRow(
        id=row.id,
        name=row.name,
        type_name=row.type_name,
        tags=sorted(set(row.tags or ())),
        active=row.active,
        status=status,
        also=[word for word in _TOLD_APART if word in condition.holding and word != status],
        bars=draw_bars(runs),
        last_start=last.start_date if last else None,
        last_seconds=last_seconds,
        last_write=row.last_write,
        freshness=glances.judge_freshness(_freshness_limits(row), row.counted_from, now),
        timeliness=glances.judge_timeliness(_timeliness_limits(row), last_seconds),
        schedule=row.schedule,
        schedule_timezone=row.schedule_timezone,
        due="run" if row.expected_next_run else "write",
        due_at=next_due(active=row.active, run=row.expected_next_run, write=write),
    )


def _freshness_limits(row: Row[Any]) -> Limits:
    own = (row.freshness_number, row.freshness_datepart)
    pair = glances.choose_pair(*own, row.type_freshness_number, row.type_freshness_datepart)
    muted = glances.muted_by(own=row.mute_freshness_check, of_type=row.type_mutes_freshness)
    return Limits(pair, row.fresh_seconds, row.warned_seconds, muted)


def _timeliness_limits(row: Row[Any]) -> Limits:
    own = (row.timeliness_number, row.timeliness_datepart)
    pair = glances.choose_pair(*own, row.type_timeliness_number, row.type_timeliness_datepart)
    muted = glances.muted_by(own=row.mute_timeliness_check, of_type=row.type_mutes_timeliness)
    return Limits(pair, row.timely_seconds, row.slow_seconds, muted)
