"""Which executions take, or took, too long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.service import Level, NewAlert, raise_alert
from watcher_server.kit.fields import INT_MAX
from watcher_server.queueing.configuration import SCHEDULED_QUEUE
from watcher_server.queueing.outbox import enqueue_async

# The executions that an alert names; of more, it gives the number.
_NAMED_IN_ALERT = 20
_SECONDS_PER_HOUR = 3600

# Two halves, each served by an index of its own: running ones by ix_pipeline_execution_running, ended ones by
# ix_pipeline_execution_start_date. The log's unique key makes an execution new once; written in one order, so
# that two checks at once wait for each other and do not deadlock.
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
    SELECT candidate.*,
        coalesce(pipeline.timeliness_number, pipeline_type.timeliness_number) AS number,
        coalesce(pipeline.timeliness_datepart, pipeline_type.timeliness_datepart) AS datepart,
        pipeline.timeliness_number IS NOT NULL AS own
    FROM candidate
    JOIN pipeline ON pipeline.id = candidate.pipeline_id
    JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
    WHERE pipeline.active AND NOT pipeline.mute_timeliness_check AND NOT pipeline_type.mute_timeliness_check
), logged AS (
    INSERT INTO timeliness_pipeline_execution_log
        (pipeline_execution_id, pipeline_id, duration_seconds, seconds_threshold, execution_status,
        timely_number, timely_datepart, used_child_config)
    SELECT id, pipeline_id, floor(extract(epoch FROM coalesce(end_date, now()) - start_date)),
        round(extract(epoch FROM deadline - start_date)),
        CASE WHEN end_date IS NULL THEN 'running' ELSE 'completed' END, number, datepart, own
    FROM checked CROSS JOIN LATERAL (SELECT watcher_deadline(start_date, number, datepart)) AS due (deadline)
    WHERE number IS NOT NULL AND deadline < coalesce(end_date, now())
    ORDER BY id
    ON CONFLICT (pipeline_execution_id, severity) DO NOTHING
    RETURNING id, pipeline_execution_id, pipeline_id, duration_seconds, execution_status,
        timely_number, timely_datepart
), told AS (
    SELECT logged.*, pipeline.name, execution.start_date,
        execution.end_date IS NULL
            OR extract(epoch FROM now() - execution.end_date) <= :alert_max_age_seconds AS to_alert
    FROM logged
    JOIN pipeline ON pipeline.id = logged.pipeline_id
    JOIN pipeline_execution AS execution ON execution.id = logged.pipeline_execution_id
)
SELECT told.*, count(*) OVER () AS total, count(*) FILTER (WHERE to_alert) OVER () AS total_to_alert,
    max(id) OVER () AS newest_id
FROM told ORDER BY to_alert DESC, id LIMIT :named
"""


@dataclass(frozen=True)
class Found:
    """How many overdue executions a check logged, and how many of those it alerted."""

    logged: int
    alerted: int


async def queue_timeliness_check(session: AsyncSession, lookback_minutes: int) -> None:
    """Have the check run once this transaction has committed."""
    await enqueue_async(session, "timeliness_check_task", SCHEDULED_QUEUE, lookback_minutes=lookback_minutes)


def check_timeliness(connection: Connection, lookback_minutes: int, *, alert_max_age_hours: int) -> Found:
    """Log every overdue execution that is new, and raise one alert for them.

    Looks at the successful executions that started within the lookback and at all that are still running. The
    threshold is the pipeline's, or its type's where it has none; inactive and muted ones are not checked.
    What ended more than ``alert_max_age_hours`` ago is logged but not alerted.

    Raises:
        ValueError: the lookback is not a whole number of minutes of at least one.
    """
    _check_lookback(lookback_minutes)
    parameters = {
        "lookback_minutes": lookback_minutes,
        "alert_max_age_seconds": alert_max_age_hours * _SECONDS_PER_HOUR,
        "named": _NAMED_IN_ALERT,
    }
    overdue = connection.execute(text(_LOG_OVERDUE), parameters).all()
    if not overdue:
        return Found(logged=0, alerted=0)
    found = Found(logged=overdue[0].total, alerted=overdue[0].total_to_alert)
    if found.alerted:
        _tell(connection, [row for row in overdue if row.to_alert], found.alerted)
    return found


def _check_lookback(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= INT_MAX:
        raise ValueError(f"lookback_minutes must be an integer from 1 to {INT_MAX}, not {value!r}.")


def _tell(connection: Connection, overdue: Sequence[Row[Any]], total: int) -> None:
    details = [(f"{row.name} (execution {row.pipeline_execution_id})", _describe(row)) for row in overdue]
    if total > len(overdue):
        details.append(("Others", f"and {total - len(overdue)} more"))
    raise_alert(
        connection,
        NewAlert(
            dedupe_key=f"timeliness:{overdue[0].newest_id}",
            level=Level.WARNING,
            title="Timeliness Check - Pipeline Execution",
            message=f"Timeliness Check Failed - {total} new execution(s) overdue",
            details=details,
        ),
    )


def _describe(row: Row[Any]) -> str:
    verb = "running for" if row.execution_status == "running" else "took"
    return (
        f"{verb} {timedelta(seconds=row.duration_seconds)}"
        f" since {row.start_date.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC,"
        f" expected within {row.timely_number} {row.timely_datepart}(s)"
    )
