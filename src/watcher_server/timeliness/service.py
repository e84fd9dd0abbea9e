"""Which executions take, or took, too long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.naming import NAMED_IN_ALERT, Named, name_in_alert
from watcher_server.alerts.service import Level, NewAlert, raise_alert
from watcher_server.kit.fields import INT_MAX
from watcher_server.queueing.configuration import SCHEDULED_QUEUE
from watcher_server.queueing.outbox import enqueue_async

_SECONDS_PER_HOUR = 3600

# Two halves, each served by an index of its own: running ones by ix_pipeline_execution_running, ended ones by
# ix_pipeline_execution_start_date. The unique key (execution, severity) makes each new once; written in one order,
# so that two checks at once wait for each other and do not deadlock. Whether a warning comes after its failure is one
# seek in that key.
_LOG_OVERDUE = """
WITH candidate AS (
    SELECT id, pipeline_id, start_date, NULL::timestamptz AS end_date
    FROM pipeline_execution
    WHERE end_date IS NULL
    UNION ALL
    SELECT id, pipeline_id, start_date, end_date
    FROM pipeline_execution
    WHERE start_date >= now() - make_interval(mins => :lookback_minutes)
        AND end_date IS NOT NULL AND completed_successfully
), checked AS (
    SELECT candidate.*, coalesce(end_date, now()) AS until,
        coalesce(pipeline.timeliness_number, type.timeliness_number) AS number,
        coalesce(pipeline.timeliness_datepart, type.timeliness_datepart) AS datepart,
        pipeline.timeliness_number IS NOT NULL AS own,
        coalesce(pipeline.timeliness_warning_number, type.timeliness_warning_number) AS warning_number,
        coalesce(pipeline.timeliness_warning_datepart, type.timeliness_warning_datepart) AS warning_datepart,
        pipeline.timeliness_warning_number IS NOT NULL AS warning_own
    FROM candidate
    JOIN pipeline ON pipeline.id = candidate.pipeline_id
    JOIN pipeline_type AS type ON type.id = pipeline.pipeline_type_id
    WHERE pipeline.active AND NOT pipeline.mute_timeliness_check AND NOT type.mute_timeliness_check
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
    RETURNING id, pipeline_execution_id, pipeline_id, duration_seconds, execution_status,
        timely_number, timely_datepart, severity
), told AS (
    SELECT logged.*, execution.start_date,
        execution.end_date IS NULL
            OR extract(epoch FROM now() - execution.end_date) <= :alert_max_age_seconds AS to_alert
    FROM logged JOIN pipeline_execution AS execution ON execution.id = logged.pipeline_execution_id
), numbered AS (
    SELECT told.*, row_number() OVER (PARTITION BY severity ORDER BY to_alert DESC, id) AS place,
        count(*) OVER (PARTITION BY severity) AS total,
        count(*) FILTER (WHERE to_alert) OVER (PARTITION BY severity) AS total_to_alert,
        max(id) OVER (PARTITION BY severity) AS newest_id
    FROM told
)
SELECT numbered.*, pipeline.name
FROM numbered JOIN pipeline ON pipeline.id = numbered.pipeline_id
WHERE place <= :named ORDER BY severity, place
"""

_MESSAGES = {
    "failure": (Level.WARNING, "Timeliness Check Failed - {total} new execution(s) overdue"),
    "warning": (Level.INFO, "Timeliness Check Warning - {total} execution(s) close to overdue"),
}


@dataclass(frozen=True)
class Found:
    """How many overdue executions a check logged, how many of those it alerted, and the same for close ones."""

    logged: int
    alerted: int
    warnings_logged: int
    warnings_alerted: int


async def queue_timeliness_check(session: AsyncSession, lookback_minutes: int) -> None:
    """Have the check run once this transaction has committed."""
    await enqueue_async(session, "timeliness_check_task", SCHEDULED_QUEUE, lookback_minutes=lookback_minutes)


def check_timeliness(connection: Connection, lookback_minutes: int, *, alert_max_age_hours: int) -> Found:
    """Log every overdue execution that is new, and raise one alert for them; the same for those that only warn.

    Looks at the successful executions that started within the lookback and at all that are still running. The
    threshold is the pipeline's, or its type's where it has none, and so is that of a warning; an execution that is or
    was overdue does not warn. Inactive and muted pipelines are not checked. What ended more than
    ``alert_max_age_hours`` ago is logged but not alerted.

    Raises:
        ValueError: the lookback is not a whole number of minutes of at least one.
    """
    _check_lookback(lookback_minutes)
    parameters = {
        "lookback_minutes": lookback_minutes,
        "alert_max_age_seconds": alert_max_age_hours * _SECONDS_PER_HOUR,
        "named": NAMED_IN_ALERT,
    }
    rows = connection.execute(text(_LOG_OVERDUE), parameters).all()
    found = {severity: _tell(connection, severity, list(of_it)) for severity, of_it in groupby(rows, _severity)}
    return Found(*found.get("failure", (0, 0)), *found.get("warning", (0, 0)))


def _severity(row: Row[Any]) -> str:
    return str(row.severity)


def _check_lookback(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= INT_MAX:
        raise ValueError(f"lookback_minutes must be an integer from 1 to {INT_MAX}, not {value!r}.")


def _tell(connection: Connection, severity: str, rows: Sequence[Row[Any]]) -> tuple[int, int]:
    """Raise the alert of one severity, unless all is too old; how many were logged, and how many alerted."""
    logged, alerted = rows[0].total, rows[0].total_to_alert
    if alerted:
        level, message = _MESSAGES[severity]
        named = [
            Named(row.pipeline_id, f"{row.name} (execution {row.pipeline_execution_id})", _describe(row))
            for row in rows
            if row.to_alert
        ]
        raise_alert(
            connection,
            NewAlert(
                dedupe_key=f"timeliness:{rows[0].newest_id}",
                level=level,
                title="Timeliness Check - Pipeline Execution",
                message=message.format(total=alerted),
                details=name_in_alert(connection, named, alerted),
            ),
        )
    return logged, alerted


def _describe(row: Row[Any]) -> str:
    verb = "running for" if row.execution_status == "running" else "took"
    return (
        f"{verb} {timedelta(seconds=row.duration_seconds)}"
        f" since {row.start_date.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC,"
        f" expected within {row.timely_number} {row.timely_datepart}(s)"
    )
