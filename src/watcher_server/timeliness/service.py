"""Which executions take, or took, too long."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import Subject, moment_text
from watcher_server.executions.models import PipelineExecution
from watcher_server.incidents.checks import Found, warn
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.opening import Finding, open_incidents
from watcher_server.incidents.telling import Line, speaking, tell
from watcher_server.kit.fields import INT_MAX
from watcher_server.tasking.history.service import find_last_succeeded
from watcher_server.timeliness.models import TimelinessExecutionLog

CHECK_TASK: Final = "timeliness_check_task"

# Two halves, each served by an index of its own: running ones by ix_pipeline_execution_running, ended ones by
# ix_pipeline_execution_ended; whatever started within the lookback and ended, ended within it too. A backfill loads
# data of long ago, so its start says nothing of how long it has been running. The log's unique key, of execution and
# severity, makes each finding new once. Rows are written in one order, so that two checks at once wait for each other
# and do not deadlock. Whether a failure was logged before a warning is one seek in that key.
_LOG_OVERDUE = """
WITH candidate AS (
    SELECT id, pipeline_id, start_date, NULL::timestamptz AS end_date
    FROM pipeline_execution
    WHERE end_date IS NULL AND NOT backfill
    UNION ALL
    SELECT id, pipeline_id, start_date, end_date
    FROM pipeline_execution
    WHERE end_date >= least(now() - make_interval(mins => :lookback_minutes), CAST(:looked_at AS timestamptz))
        AND completed_successfully
), checked AS (
    SELECT candidate.*, coalesce(end_date, now()) AS until,
        timeliness_number AS number, timeliness_datepart AS datepart, timeliness_own AS own,
        timeliness_warning_number AS warning_number, timeliness_warning_datepart AS warning_datepart,
        timeliness_warning_own AS warning_own
    FROM candidate JOIN pipeline_effective AS pipeline ON pipeline.id = candidate.pipeline_id
    WHERE pipeline.active AND NOT pipeline.timeliness_muted
), judged AS MATERIALIZED (
    SELECT checked.*, CASE
        WHEN watcher_deadline(start_date, number, datepart) < until THEN 'failure'
        WHEN watcher_deadline(start_date, warning_number, warning_datepart) < until THEN 'warning'
        END AS severity
    FROM checked
), logged AS (
    INSERT INTO timeliness_pipeline_execution_log
        (pipeline_execution_id, pipeline_id, duration_seconds, seconds_threshold, execution_status,
        timely_number, timely_datepart, used_child_config, severity)
    SELECT id, pipeline_id, floor(extract(epoch FROM until - start_date)),
        round(extract(epoch FROM watcher_deadline(start_date, passed.number, passed.datepart) - start_date)),
        CASE WHEN end_date IS NULL THEN 'running' ELSE 'completed' END,
        passed.number, passed.datepart, passed.own, severity
    FROM judged CROSS JOIN LATERAL (
        SELECT CASE severity WHEN 'failure' THEN judged.number ELSE warning_number END,
            CASE severity WHEN 'failure' THEN judged.datepart ELSE warning_datepart END,
            CASE severity WHEN 'failure' THEN judged.own ELSE warning_own END
    ) AS passed (number, datepart, own)
    WHERE severity IS NOT NULL AND (severity = 'failure' OR NOT EXISTS (
        SELECT FROM timeliness_pipeline_execution_log AS failed
        WHERE failed.pipeline_execution_id = judged.id AND failed.severity = 'failure'))
    ORDER BY id
    ON CONFLICT (pipeline_execution_id, severity) DO NOTHING
    RETURNING id, pipeline_execution_id
)
SELECT judged.id, judged.pipeline_id, coalesce(pipeline.display_name, pipeline.name) AS name,
    judged.severity, judged.start_date, judged.end_date,
    floor(extract(epoch FROM until - judged.start_date))::bigint AS duration_seconds, logged.id AS log_id,
    CASE judged.severity WHEN 'failure' THEN number ELSE warning_number END AS number,
    CASE judged.severity WHEN 'failure' THEN datepart ELSE warning_datepart END AS datepart,
    watcher_due(judged.start_date, number, datepart) AS due_at,
    end_date IS NULL OR extract(epoch FROM now() - end_date) <= :alert_max_age_seconds AS to_alert
FROM judged LEFT JOIN logged ON logged.pipeline_execution_id = judged.id
JOIN pipeline ON pipeline.id = judged.pipeline_id
WHERE logged.id IS NOT NULL OR judged.severity = 'failure' AND end_date IS NULL
ORDER BY judged.id
"""


def check_timeliness(connection: Connection, lookback_minutes: int, *, alert_max_age_hours: int) -> Found:
    """Log every overdue execution that is new, open its pipeline's incident, and raise one alert for what is told.

    Looks at the successful executions that ended within the lookback, or since the last check that succeeded if that is
    longer ago, and at all that are still running. The threshold is the pipeline's, or its type's where it has none, and
    so is that of a warning; an execution that is or was overdue does not warn. Inactive and muted pipelines are not
    checked. What ended more than ``alert_max_age_hours`` ago is logged but not alerted. What is found only after its
    end is over already: its incident is opened and resolved at once, with one message.

    Raises:
        ValueError: the lookback is not a whole number of minutes of at least one.
    """
    if (
        isinstance(lookback_minutes, bool)
        or not isinstance(lookback_minutes, int)
        or not 1 <= lookback_minutes <= INT_MAX
    ):
        raise ValueError(f"lookback_minutes must be an integer from 1 to {INT_MAX}, not {lookback_minutes!r}.")
    parameters = {
        "lookback_minutes": lookback_minutes,
        "looked_at": find_last_succeeded(connection, [CHECK_TASK]).get(CHECK_TASK),
        "alert_max_age_seconds": alert_max_age_hours * 3600,
    }
    rows = connection.execute(text(_LOG_OVERDUE), parameters).all()
    overdue = [row for row in rows if row.severity == "failure"]
    close = [row for row in rows if row.severity == "warning"]
    lines = _open(connection, [row for row in overdue if row.to_alert])

    def message(told: Sequence[Line]) -> str:
        return f"Timeliness Check Failed - {len(told)} new execution(s) overdue"

    tell(connection, Kind.LATE, "opened", message, lines)
    warned = [row for row in close if row.to_alert]
    warn(
        connection,
        Kind.LATE,
        lambda number: f"Timeliness Check Warning - {number} execution(s) close to overdue",
        [_line(row) for row in warned],
        key=f"timeliness:{max((row.log_id for row in warned), default=0)}",
    )
    logged = sum(row.log_id is not None for row in overdue)
    return Found(logged, len(lines), len(close), len(warned))


def _open(connection: Connection, overdue: Sequence[Row[Any]]) -> list[tuple[Level, Line]]:
    """Open one incident per pipeline; the lines of its executions that are new, if the incident speaks."""
    ordered = sorted(overdue, key=attrgetter("pipeline_id", "id"))
    groups = [list(rows) for _, rows in groupby(ordered, key=attrgetter("pipeline_id"))]
    openings = open_incidents(connection, Kind.LATE, [_finding(rows) for rows in groups])
    told = [
        (row, opening)
        for opening, rows in speaking(connection, openings, groups)
        for row in rows
        if row.log_id is not None or row.id == opening.finding.execution_id
    ]
    told.sort(key=lambda pair: pair[0].id)
    return [(opening.level, _line(row, opening.incident_id)) for row, opening in told]


def _finding(rows: Sequence[Row[Any]]) -> Finding:
    """The latest run that is still going stands for the pipeline; without one, the latest that has ended."""
    row = max(rows, key=lambda row: (row.end_date is None, row.id))
    return Finding(
        row.due_at,
        _describe(row),
        pipeline_id=row.pipeline_id,
        execution_id=row.id,
        count=len(rows),
        over=row.end_date is not None,
    )


def _line(row: Row[Any], incident_id: int | None = None) -> Line:
    about = Subject(incident_id=incident_id, pipeline_id=row.pipeline_id, execution_id=row.id)
    return Line(f"{row.name} (execution {row.id})", _describe(row), about)


def _describe(row: Row[Any]) -> str:
    took = f"{'running for' if row.end_date is None else 'took'} {timedelta(seconds=row.duration_seconds)}"
    return f"{took} since {moment_text(row.start_date)}, expected within {row.number} {row.datepart}(s)"


async def read_overdue_log(
    session: AsyncSession, pipeline_id: int, *, before: datetime, limit: int, alert_max_age_hours: int
) -> list[tuple[TimelinessExecutionLog, bool]]:
    """What was found before a moment among the 1,000 latest executions before it, the newest first; whether alerted.

    An execution that had ended long before it was judged was not alerted. The executions by
    ix_pipeline_execution_pipeline_id_start_date, each in the log by its unique key.
    """
    latest = (
        select(PipelineExecution)
        .where(PipelineExecution.pipeline_id == pipeline_id, PipelineExecution.start_date < before)
        .order_by(PipelineExecution.start_date.desc())
        .limit(1_000)
    )
    run, log = aliased(PipelineExecution, latest.subquery()), TimelinessExecutionLog
    statement = (
        select(log, run.end_date)
        .join(run, run.id == log.pipeline_execution_id)
        .where(log.evaluated_at < before)
        .order_by(log.evaluated_at.desc(), log.id.desc())
        .limit(limit)
    )
    oldest = timedelta(hours=alert_max_age_hours)
    return [
        (found, found.execution_status == "running" or ended is None or found.evaluated_at - ended <= oldest)
        for found, ended in await session.execute(statement)
    ]


async def read_severities(session: AsyncSession, execution_ids: Collection[int]) -> dict[int, str]:
    """The worst severity that was logged for each of these executions, by the log's unique key; most have none."""
    log = TimelinessExecutionLog
    statement = (
        select(log.pipeline_execution_id, func.min(log.severity))
        .where(log.pipeline_execution_id.in_(execution_ids))
        .group_by(log.pipeline_execution_id)
    )
    return {row[0]: row[1] for row in await session.execute(statement)}
