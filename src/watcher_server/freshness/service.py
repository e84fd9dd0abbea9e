"""Which pipelines have not written for too long."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.service import Subject, moment_text
from watcher_server.freshness.excused import find_excused
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.incidents.checks import Found, warn
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.opening import Finding, open_incidents
from watcher_server.incidents.telling import Line, speaking, tell

# One pass over the pipelines; no index could help. How long data is fresh, pipeline_effective says. The unique key of
# the log (pipeline, last DML, severity) makes each state new once. Rows are written in one order, so that two checks at
# once wait for each other and do not deadlock. Whether a failure was logged before a warning is one seek in that key.
_LOG_STALE = """
WITH judged AS MATERIALIZED (
    SELECT id, coalesce(display_name, name) AS name, last_write, last_looked,
        greatest(last_write, last_looked) AS last_known, stale_at, counted_from, schedule, freshness_calendar,
        freshness_number, freshness_datepart, freshness_own,
        freshness_warning_number, freshness_warning_datepart, freshness_warning_own,
        CASE WHEN stale_at < now() AND id <> ALL(CAST(:excused AS bigint[])) THEN 'failure'
            WHEN stale_warning_at < now() AND id <> ALL(CAST(:excused_of_warnings AS bigint[])) THEN 'warning'
        END AS severity
    FROM pipeline_effective
    WHERE active AND NOT freshness_muted
), logged AS (
    INSERT INTO freshness_pipeline_log
        (pipeline_id, last_dml_timestamp, freshness_number, freshness_datepart, used_child_config, severity)
    SELECT id, last_known,
        CASE severity WHEN 'failure' THEN freshness_number ELSE freshness_warning_number END,
        CASE severity WHEN 'failure' THEN freshness_datepart ELSE freshness_warning_datepart END,
        CASE severity WHEN 'failure' THEN freshness_own ELSE freshness_warning_own END, severity
    FROM judged
    WHERE severity IS NOT NULL AND (severity = 'failure' OR NOT EXISTS (
        SELECT FROM freshness_pipeline_log AS failed
        WHERE failed.pipeline_id = judged.id AND failed.severity = 'failure'
            AND failed.last_dml_timestamp IS NOT DISTINCT FROM judged.last_known))
    ORDER BY id
    ON CONFLICT (pipeline_id, last_dml_timestamp, severity) DO NOTHING
    RETURNING id, pipeline_id, severity
)
SELECT judged.id AS pipeline_id, name, judged.severity, last_write, last_looked, stale_at, logged.id AS log_id,
    CASE WHEN schedule IS NOT NULL THEN counted_from END AS due_since, freshness_calendar,
    CASE judged.severity WHEN 'failure' THEN freshness_number ELSE freshness_warning_number END AS number,
    CASE judged.severity WHEN 'failure' THEN freshness_datepart ELSE freshness_warning_datepart END AS datepart
FROM judged LEFT JOIN logged ON logged.pipeline_id = judged.id
WHERE judged.severity = 'failure' OR logged.id IS NOT NULL
ORDER BY judged.id
"""


def check_freshness(connection: Connection) -> Found:
    """Log every stale state that is new, open its incident, and raise one alert for all that are told.

    A pipeline is stale when its last insert, update or soft delete, or successful run that had nothing to do, or its
    creation if there was none, lies longer ago than its freshness interval, or its type's where it has none. With a
    schedule the interval counts from the first run that was due since; of a calendar, only time on its days counts. It
    warns when that is so of its warning interval, or its type's, and it is not stale and was not. Inactive and muted
    ones are not checked, and those whose runs a window takes away are given that time.
    """
    excused = find_excused(connection)
    parameters = {"excused": excused.of_failures, "excused_of_warnings": excused.of_warnings}
    rows = connection.execute(text(_LOG_STALE), parameters).all()
    stale = [row for row in rows if row.severity == "failure"]
    close = [row for row in rows if row.severity == "warning"]
    findings = [
        Finding(row.stale_at, _describe(row), pipeline_id=row.pipeline_id, is_new=row.log_id is not None)
        for row in stale
    ]
    openings = open_incidents(connection, Kind.STALE, findings)
    lines = [
        (opening.level, _line(opening.finding.pipeline_id, row.name, opening.finding.detail, opening.incident_id))
        for opening, row in speaking(connection, openings, stale)
    ]

    def message(told: Sequence[Line]) -> str:
        return f"Freshness Check Failed - {len(told)} NEW pipeline(s) overdue"

    tell(connection, Kind.STALE, "opened", message, lines)
    warn(
        connection,
        Kind.STALE,
        lambda number: f"Freshness Check Warning - {number} pipeline(s) close to overdue",
        [_line(row.pipeline_id, row.name, _describe(row)) for row in close],
        key=f"freshness:{max((row.log_id for row in close), default=0)}",
    )
    logged = sum(row.log_id is not None for row in stale)
    return Found(logged, len(lines), len(close), len(close))


def _describe(row: Row[Any]) -> str:
    written = "never written" if row.last_write is None else f"last DML {moment_text(row.last_write)}"
    looked = "" if row.last_looked is None else f", nothing to do at {moment_text(row.last_looked)}"
    days = "" if row.freshness_calendar is None else f" of {row.freshness_calendar}"
    due = "" if row.due_since is None else f", due since {moment_text(row.due_since)}"
    return f"{written}{looked}, expected every {row.number} {row.datepart}(s){days}{due}"


def _line(pipeline_id: int | None, name: str, text: str, incident_id: int | None = None) -> Line:
    return Line(name, text, Subject(incident_id=incident_id, pipeline_id=pipeline_id))


async def read_stale_log(
    session: AsyncSession, pipeline_id: int, *, before: datetime, limit: int
) -> Sequence[FreshnessPipelineLog]:
    """The stale states that were found before a moment, the newest first, by the unique key of the log."""
    log = FreshnessPipelineLog
    statement = select(log).where(log.pipeline_id == pipeline_id, log.evaluated_at < before)
    return (await session.scalars(statement.order_by(log.evaluated_at.desc(), log.id.desc()).limit(limit))).all()
