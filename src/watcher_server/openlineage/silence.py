"""Streams that say nothing any more, and namespaces from which nothing comes though their runs are missed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any, Final

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.service import Subject, minute_text
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.opening import Finding, lock_incidents, open_incidents
from watcher_server.incidents.resolving import resolve
from watcher_server.incidents.telling import Line, speaking, tell
from watcher_server.kit.durations import duration_text

# A stream is silent after this, or after so many times what lies between its events, whichever is longer.
_LEAST_SECONDS: Final = 15 * 60
_TIMES: Final = 3
_MISSED_IN_A_ROW: Final = 3

# What is open by ix_pipeline_execution_running, its run by the index on execution_id.
_STREAMS = """
SELECT execution.id, execution.pipeline_id, coalesce(pipeline.display_name, pipeline.name) AS name, execution.heard_at,
    run.state -> 'recent' AS recent,
    run.state #>> '{facets,jobType,2,emissionPattern,windowDuration}' AS window_seconds
FROM pipeline_execution AS execution
JOIN pipeline ON pipeline.id = execution.pipeline_id AND pipeline.active AND pipeline.archived_at IS NULL
JOIN openlineage_run AS run ON run.execution_id = execution.id
WHERE execution.end_date IS NULL AND execution.execution_metadata #> '{openlineage,streaming}' IS NOT NULL
    AND execution.heard_at < now() - make_interval(secs => :least)
ORDER BY execution.id
"""
# Namespaces of pipelines that missed several runs, from which nothing came since the first of those was expected.
_NAMESPACES = """
SELECT left(job.namespace, 200) AS namespace, min(incident.since) AS since,
    count(DISTINCT incident.pipeline_id) AS pipelines
FROM incident
JOIN openlineage_job AS job ON job.pipeline_id = incident.pipeline_id AND NOT job.adopted
WHERE incident.kind = 'missed' AND incident.state <> 'resolved' AND incident.count >= :missed
    AND NOT EXISTS (
        SELECT FROM openlineage_source AS source
        WHERE source.lane = left(job.namespace, 200) AND source.last_at > incident.since
    )
GROUP BY 1 ORDER BY 1
"""
_HEARD_AGAIN = """
SELECT incident.id FROM incident
WHERE incident.kind = 'silent' AND incident.pipeline_id IS NULL AND incident.state <> 'resolved' AND (
    EXISTS (
        SELECT FROM openlineage_source AS source
        WHERE source.lane = incident.subject AND source.last_at > incident.since
    )
    OR NOT EXISTS (
        SELECT FROM openlineage_job AS job
        JOIN incident AS missed ON missed.pipeline_id = job.pipeline_id AND missed.kind = 'missed'
        WHERE left(job.namespace, 200) = incident.subject AND missed.state <> 'resolved'
    )
)
"""


def tell_silence(connection: Connection) -> int:
    """Open the incidents of what is silent, tell people of them, and resolve those of namespaces that are heard again.

    An incident of a stream is resolved as every other one of a pipeline is. Returns how many people are told of.
    """
    lock_incidents(connection)
    resolve(connection, connection.scalars(text(_HEARD_AGAIN)).all())
    now = datetime.now(UTC)
    going = connection.execute(text(_STREAMS), {"least": _LEAST_SECONDS})
    streams = [row for row in going if now - row.heard_at > timedelta(seconds=_patience(row))]
    namespaces = connection.execute(text(_NAMESPACES), {"missed": _MISSED_IN_A_ROW}).all()
    findings = [*map(_of_stream, streams), *map(_of_namespace, namespaces)]
    names = [*(stream.name for stream in streams), *(row.namespace for row in namespaces)]
    openings = open_incidents(connection, Kind.SILENT, findings)
    lines = []
    for opening, name in speaking(connection, openings, names):
        about = Subject(incident_id=opening.incident_id, pipeline_id=opening.finding.pipeline_id)
        lines.append((opening.level, Line(name, opening.finding.detail, about)))

    def message(lines: Sequence[Line]) -> str:
        return f"nothing heard from {lines[0].label if len(lines) == 1 else f'{len(lines):,} senders'}"

    tell(connection, Kind.SILENT, "opened", message, lines)
    return len(lines)


def _patience(row: Row[Any]) -> float:
    """After how many seconds a stream is silent, by its window and the median of what lay between its latest events."""
    gaps = [(later - earlier) / 1_000_000 for earlier, later in pairwise(row.recent)]
    usual = max(median(gaps) if gaps else 0.0, float(row.window_seconds or 0))
    return max(_LEAST_SECONDS, _TIMES * usual)


def _of_stream(row: Row[Any]) -> Finding:
    lasted = duration_text((datetime.now(UTC) - row.heard_at).total_seconds())
    detail = f"Execution ID {row.id} goes on, and nothing was heard of it since {minute_text(row.heard_at)}"
    detail += f" ({lasted} when this was found)"
    return Finding(row.heard_at, detail, pipeline_id=row.pipeline_id, execution_id=row.id)


def _of_namespace(row: Row[Any]) -> Finding:
    number = "a pipeline" if row.pipelines == 1 else f"{row.pipelines:,} pipelines"
    return Finding(
        row.since,
        f"nothing heard from {row.namespace} since {minute_text(row.since)}: {number} missed {_MISSED_IN_A_ROW} runs"
        " in a row or more, so its scheduler is paused, or cannot send",
        subject=row.namespace,
        count=row.pipelines,
    )
