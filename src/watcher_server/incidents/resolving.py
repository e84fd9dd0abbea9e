"""Resolving incidents that are over."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfoNotFoundError

from sqlalchemy import Connection, Row, text

from watcher_server.executions.endless import MOST_OPEN
from watcher_server.incidents.tally import tally_took
from watcher_server.schedules.cron import Schedule
from watcher_server.schedules.windows import opens_at

Resolution = Literal["auto", "hand", "paused"]

# People are told after this time, unless it opened again.
HOLD_BACK_SECONDS = 120

# What came of each open incident of a pipeline, and of each that was resolved by hand while it held: it is over when
# the condition that opened it no longer holds. An anomaly ends when a judgement finds a usual run, or here, when nobody
# calls its runs anomalous any more. The newest run by ix_pipeline_execution_pipeline_id_start_date, the one that is
# going by ix_pipeline_execution_running.
_JUDGED = f"""
SELECT incident.id, incident.kind, incident.state, NOT pipeline.active OR CASE incident.kind
        WHEN 'stale' THEN pipeline.freshness_muted OR pipeline.freshness_number IS NULL
        WHEN 'late' THEN pipeline.timeliness_muted
        WHEN 'missed' THEN pipeline.timeliness_muted OR pipeline.schedule IS NULL
        ELSE false END AS is_paused,
    CASE incident.kind
        WHEN 'failing' THEN NOT EXISTS (
            SELECT FROM (
                SELECT completed_successfully FROM pipeline_execution AS execution
                WHERE execution.pipeline_id = pipeline.id AND end_date IS NOT NULL AND outcome IS NULL AND NOT backfill
                ORDER BY start_date DESC, execution.id DESC LIMIT 1
            ) AS newest WHERE NOT completed_successfully
        )
        WHEN 'lost' THEN NOT EXISTS (
            SELECT FROM (
                SELECT outcome FROM pipeline_execution AS execution
                WHERE execution.pipeline_id = pipeline.id AND end_date IS NOT NULL AND NOT backfill
                ORDER BY start_date DESC, execution.id DESC LIMIT 1
            ) AS newest WHERE outcome = 'lost'
        )
        WHEN 'silent' THEN NOT EXISTS (
            SELECT FROM pipeline_execution AS execution
            WHERE execution.id = incident.execution_id AND end_date IS NULL AND heard_at <= incident.since
        )
        WHEN 'overlapping' THEN (
            SELECT count(*) FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = pipeline.id AND end_date IS NULL AND NOT backfill
        ) <= (SELECT {MOST_OPEN} FROM pipeline WHERE pipeline.id = incident.pipeline_id)
        WHEN 'late' THEN NOT EXISTS (
            SELECT FROM pipeline_execution AS execution
            JOIN timeliness_pipeline_execution_log AS log ON log.pipeline_execution_id = execution.id
            WHERE execution.pipeline_id = pipeline.id AND end_date IS NULL AND log.severity = 'failure'
        )
        WHEN 'stale' THEN (pipeline.stale_at < now()) IS NOT TRUE
        WHEN 'missed' THEN latest.start_date >= pipeline.last_missed_run
        WHEN 'anomalous' THEN NOT EXISTS (
            SELECT FROM anomaly_detection_result AS result
            JOIN anomaly_detection_rule AS rule ON rule.id = result.rule_id AND rule.active
            JOIN pipeline_execution AS execution ON execution.id = result.pipeline_execution_id
            LEFT JOIN anomaly_event AS event ON event.id = result.event_id
            WHERE result.pipeline_execution_id = incident.execution_id AND event.accepted_at IS NULL
                AND execution.anomaly_flags -> result.metric_field = 'true'
        )
    END IS TRUE AS is_over,
    latest.start_date AS last_start, pipeline.last_missed_run, pipeline.schedule, pipeline.schedule_timezone,
    pipeline.schedule_grace_minutes
FROM incident JOIN pipeline_effective AS pipeline ON pipeline.id = incident.pipeline_id
LEFT JOIN LATERAL (
    SELECT start_date FROM pipeline_execution AS execution
    WHERE incident.kind = 'missed' AND execution.pipeline_id = pipeline.id AND NOT backfill
    ORDER BY start_date DESC LIMIT 1
) AS latest ON true
WHERE (incident.state <> 'resolved' OR incident.quiet)
    AND (:every OR incident.pipeline_id = :pipeline_id OR incident.id = ANY(CAST(:ids AS bigint[])))
"""  # noqa: S608 - a constant


def resolve_what_is_over(connection: Connection, pipeline_id: int | None = None) -> int:
    """Resolve every open incident of a pipeline, or of all, whose condition holds no more; how many.

    What was resolved by hand and held on may open again once it was over.
    """
    over = _find_over(connection, every=pipeline_id is None, pipeline_id=pipeline_id)
    resolved = 0
    for resolution in ("auto", "paused"):
        ids = [row.id for row in over if (resolution == "paused") == row.is_paused]
        resolved += resolve(connection, ids, resolution)
    return resolved


# What is no pipeline is looked at once a minute, and resolved when it is well. A task that failed is not failing on.
_OPEN = """
SELECT id FROM incident WHERE id = ANY(CAST(:ids AS bigint[])) AND state <> 'resolved' AND kind <> 'task'
"""


def find_holding(connection: Connection, incident_ids: Collection[int]) -> set[int]:
    """Those of these incidents that are open and whose condition holds, so that they would be found again."""
    open_ids = set(connection.scalars(text(_OPEN), {"ids": list(incident_ids)}))
    return open_ids - {row.id for row in _find_over(connection, incident_ids=incident_ids)}


def _find_over(
    connection: Connection,
    *,
    every: bool = False,
    pipeline_id: int | None = None,
    incident_ids: Collection[int] = (),
) -> list[Row[Any]]:
    parameters = {"every": every, "pipeline_id": pipeline_id, "ids": list(incident_ids)}
    rows = connection.execute(text(_JUDGED), parameters)
    return [row for row in rows if row.is_over or row.is_paused or _has_started(row)]


def _has_started(row: Row[Any]) -> bool:
    """Whether the run that was missed has started after all, a little before its moment, and was reported late."""
    if row.kind != "missed" or row.last_start is None or row.last_missed_run is None:
        return False
    grace = timedelta(minutes=row.schedule_grace_minutes)
    if row.last_start < row.last_missed_run - grace:
        return False
    try:
        opens = opens_at(Schedule(row.schedule, row.schedule_timezone), grace, row.last_missed_run)
    except ZoneInfoNotFoundError:
        # The schedule check logs that this machine lacks the zone.
        return False
    return bool(row.last_start >= opens)


# What people were not told about resolves in silence.
_RESOLVE = """
WITH over AS (
    UPDATE incident SET quiet = false WHERE id = ANY(CAST(:ids AS bigint[])) AND quiet
), resolved AS (
    UPDATE incident SET state = 'resolved', resolved_at = now(), resolution = :resolution, changed_at = now(),
        version = version + 1, speaks_at = NULL, quiet = :quiet, held_by = NULL,
        tell_resolved_at = CASE WHEN told_at IS NOT NULL THEN now() + make_interval(secs => :hold_back) END
    WHERE id = ANY(CAST(:ids AS bigint[])) AND state <> 'resolved'
    RETURNING id
), event AS (
    INSERT INTO incident_event (incident_id, change, actor, text)
    SELECT id, 'resolved', :actor, CAST(:why AS text) FROM resolved
)
SELECT id FROM resolved
"""


def resolve(
    connection: Connection,
    incident_ids: Collection[int],
    resolution: Resolution = "auto",
    *,
    actor: str = "watcher",
    why: str | None = None,
    quiet: bool = False,
    hold_back_seconds: float = HOLD_BACK_SECONDS,
) -> int:
    """Resolve those of these incidents that are open; how many. People are told after ``hold_back_seconds``.

    With ``quiet`` they hold on, and do not open again before they were over once, unless they get worse.
    """
    if not incident_ids:
        return 0
    parameters = {
        "ids": list(incident_ids),
        "resolution": resolution,
        "hold_back": hold_back_seconds,
        "quiet": quiet,
        "actor": actor,
        "why": why or ("The pipeline is not active, or not checked for this." if resolution == "paused" else None),
    }
    resolved = connection.scalars(text(_RESOLVE), parameters).all()
    tally_took(connection, "resolved", resolved)
    return len(resolved)
