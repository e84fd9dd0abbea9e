"""Since when something is wrong with a pipeline, and which run shows it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

# Whoever has failed more often than this in a row has failed at least since then.
_RUNS_LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class Trouble:
    """One condition of a pipeline: since when (UTC), how often in a row, and the latest run that shows it.

    ``count`` is of failed runs, missed runs or anomalous runs, and 1 where there is nothing to count; ``detail`` names
    the metrics of an anomaly. ``since`` is None when nothing says it any more, such as after a cleanup of old logs.
    """

    since: datetime | None
    count: int
    execution_id: int | None
    detail: str


# Of each pipeline a few seeks: its latest runs by ix_pipeline_execution_pipeline_id_start_date, its missed runs by
# their unique key, the anomalies of its latest run by the index on their execution.
_FIND_TROUBLES = """
SELECT pipeline.id, pipeline.expected_next_run AS late_since,
    failing.since AS failed_since, failing.count AS failed_count, failing.execution_id AS failed_execution_id,
    missed.since AS missed_since, missed.count AS missed_count,
    overdue.since AS overdue_since, overdue.execution_id AS overdue_execution_id,
    CASE WHEN deadline.stale_at < '9999-01-01' THEN deadline.stale_at END AS stale_since,
    anomaly.since AS anomalous_since, anomaly.count AS anomalous_count, anomaly.metrics AS anomalous_detail,
    anomaly.execution_id AS anomalous_execution_id,
    latest.running_since, latest.running_execution_id
FROM unnest(CAST(:pipeline_ids AS bigint[])) AS wanted (id)
JOIN pipeline USING (id)
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
CROSS JOIN LATERAL (
    SELECT max(start_date) AS start_date, max(id) FILTER (WHERE end_date IS NULL) AS running_execution_id,
        max(start_date) FILTER (WHERE end_date IS NULL) AS running_since
    FROM (
        SELECT id, start_date, end_date FROM pipeline_execution AS execution
        WHERE execution.pipeline_id = pipeline.id ORDER BY start_date DESC, id DESC LIMIT 1
    ) AS newest
) AS latest
CROSS JOIN LATERAL (
    SELECT min(start_date) AS since, count(*) AS count,
        (array_agg(id ORDER BY start_date DESC, id DESC))[1] AS execution_id
    FROM (
        SELECT id, start_date, completed_successfully,
            bool_or(completed_successfully) OVER (ORDER BY start_date DESC, id DESC) AS had_success
        FROM (
            SELECT id, start_date, completed_successfully FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = pipeline.id AND end_date IS NOT NULL
            ORDER BY start_date DESC, id DESC LIMIT :looked_at
        ) AS ended
    ) AS in_a_row
    WHERE NOT had_success
) AS failing
CROSS JOIN LATERAL (
    SELECT min(expected_at) AS since, count(*) AS count FROM missed_run_log AS log
    WHERE log.pipeline_id = pipeline.id AND (latest.start_date IS NULL OR log.expected_at > latest.start_date)
) AS missed
LEFT JOIN LATERAL (
    SELECT latest.running_since + make_interval(secs => seconds_threshold) AS since,
        pipeline_execution_id AS execution_id
    FROM timeliness_pipeline_execution_log AS log
    WHERE log.pipeline_execution_id = latest.running_execution_id AND log.severity = 'failure'
) AS overdue ON true
CROSS JOIN LATERAL (
    SELECT watcher_deadline(
        coalesce(greatest(last_target_insert, last_target_update, last_target_soft_delete), pipeline.created_at),
        coalesce(pipeline.freshness_number, pipeline_type.freshness_number),
        coalesce(pipeline.freshness_datepart, pipeline_type.freshness_datepart))
) AS deadline (stale_at)
CROSS JOIN LATERAL (
    SELECT min(coalesce(event.started_at, newest.end_date)) AS since, max(coalesce(event.execution_count, 1)) AS count,
        string_agg(DISTINCT result.metric_field, ', ') AS metrics, max(newest.id) AS execution_id
    FROM (
        SELECT id, end_date FROM pipeline_execution AS execution
        WHERE execution.pipeline_id = pipeline.id AND end_date IS NOT NULL ORDER BY start_date DESC, id DESC LIMIT 1
    ) AS newest
    JOIN anomaly_detection_result AS result ON result.pipeline_execution_id = newest.id
    LEFT JOIN anomaly_event AS event ON event.id = result.event_id
) AS anomaly
"""
_CONDITIONS = ("failed", "missed", "overdue", "late", "stale", "anomalous", "running")


async def find_troubles(session: AsyncSession, pipeline_ids: Collection[int]) -> dict[int, dict[str, Trouble]]:
    """By pipeline and condition, what is known of it; also of conditions that do not hold."""
    parameters = {"pipeline_ids": list(pipeline_ids), "looked_at": _RUNS_LOOKED_AT}
    rows = await session.execute(text(_FIND_TROUBLES), parameters)
    return {row.id: {condition: _trouble(row, condition) for condition in _CONDITIONS} for row in rows}


def _trouble(row: Row[Any], condition: str) -> Trouble:
    found = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Trouble(
        since=found[f"{condition}_since"],
        count=found.get(f"{condition}_count") or 1,
        execution_id=found.get(f"{condition}_execution_id"),
        detail=found.get(f"{condition}_detail") or "",
    )
