"""Which pipelines have not written for too long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.naming import NAMED_IN_ALERT, Named, name_in_alert
from watcher_server.alerts.service import Level, NewAlert, raise_alert
from watcher_server.queueing.configuration import SCHEDULED_QUEUE
from watcher_server.queueing.outbox import enqueue_async

# One pass over the pipelines; no index could help. The log's unique key (pipeline, last DML, severity) makes each state
# new once; written in one order, so that two checks at once wait for each other and do not deadlock. Whether a warning
# comes after its failure is one seek in that key.
_LOG_STALE = """
WITH checked AS (
    SELECT pipeline.id, pipeline.created_at,
        greatest(last_target_insert, last_target_update, last_target_soft_delete) AS last_dml,
        coalesce(pipeline.freshness_number, type.freshness_number) AS number,
        coalesce(pipeline.freshness_datepart, type.freshness_datepart) AS datepart,
        pipeline.freshness_number IS NOT NULL AS own,
        coalesce(pipeline.freshness_warning_number, type.freshness_warning_number) AS warning_number,
        coalesce(pipeline.freshness_warning_datepart, type.freshness_warning_datepart) AS warning_datepart,
        pipeline.freshness_warning_number IS NOT NULL AS warning_own
    FROM pipeline JOIN pipeline_type AS type ON type.id = pipeline.pipeline_type_id
    WHERE pipeline.active AND NOT pipeline.mute_freshness_check AND NOT type.mute_freshness_check
), judged AS MATERIALIZED (
    SELECT checked.*, CASE
        WHEN watcher_deadline(coalesce(last_dml, created_at), number, datepart) < now() THEN 'failure'
        WHEN watcher_deadline(coalesce(last_dml, created_at), warning_number, warning_datepart) < now() THEN 'warning'
        END AS severity
    FROM checked
), logged AS (
    INSERT INTO freshness_pipeline_log
        (pipeline_id, last_dml_timestamp, freshness_number, freshness_datepart, used_child_config, severity)
    SELECT id, last_dml,
        CASE severity WHEN 'failure' THEN number ELSE warning_number END,
        CASE severity WHEN 'failure' THEN datepart ELSE warning_datepart END,
        CASE severity WHEN 'failure' THEN own ELSE warning_own END, severity
    FROM judged
    WHERE severity IS NOT NULL AND (severity = 'failure' OR NOT EXISTS (
        SELECT FROM freshness_pipeline_log AS failed
        WHERE failed.pipeline_id = judged.id AND failed.severity = 'failure'
            AND failed.last_dml_timestamp IS NOT DISTINCT FROM judged.last_dml))
    ORDER BY id
    ON CONFLICT (pipeline_id, last_dml_timestamp, severity) DO NOTHING
    RETURNING id, pipeline_id, last_dml_timestamp, freshness_number, freshness_datepart, severity
), numbered AS (
    SELECT logged.*, row_number() OVER (PARTITION BY severity ORDER BY id) AS place,
        count(*) OVER (PARTITION BY severity) AS total, max(id) OVER (PARTITION BY severity) AS newest_id
    FROM logged
)
SELECT numbered.*, pipeline.name
FROM numbered JOIN pipeline ON pipeline.id = numbered.pipeline_id
WHERE place <= :named ORDER BY severity, place
"""

_MESSAGES = {
    "failure": (Level.WARNING, "Freshness Check Failed - {total} NEW pipeline(s) overdue"),
    "warning": (Level.INFO, "Freshness Check Warning - {total} pipeline(s) close to overdue"),
}


@dataclass(frozen=True)
class Found:
    """How many pipelines a check found that have become stale, and how many that soon will."""

    stale: int
    warnings: int


async def queue_freshness_check(session: AsyncSession) -> None:
    """Have the check run once this transaction has committed."""
    await enqueue_async(session, "freshness_check_task", SCHEDULED_QUEUE)


def check_freshness(connection: Connection) -> Found:
    """Log every stale state that is new, and raise one alert for all of them; the same for those that only warn.

    A pipeline is stale when its last insert, update or soft delete, or its creation if there was none, lies
    longer ago than its freshness interval, or its type's where it has none. It warns when that is so of its
    warning interval, or its type's, and it is not stale and was not. Inactive and muted ones are not checked.
    """
    rows = connection.execute(text(_LOG_STALE), {"named": NAMED_IN_ALERT}).all()
    found = {severity: _tell(connection, severity, list(of_it)) for severity, of_it in groupby(rows, _severity)}
    return Found(stale=found.get("failure", 0), warnings=found.get("warning", 0))


def _severity(row: Row[Any]) -> str:
    return str(row.severity)


def _tell(connection: Connection, severity: str, rows: Sequence[Row[Any]]) -> int:
    """Raise the alert of one severity; over how many pipelines it is."""
    total: int = rows[0].total
    level, message = _MESSAGES[severity]
    named = [Named(row.pipeline_id, row.name, f"{_last_dml(row)}, expected every {_interval(row)}") for row in rows]
    raise_alert(
        connection,
        NewAlert(
            dedupe_key=f"freshness:{rows[0].newest_id}",
            level=level,
            title="Freshness Check - Pipeline DML",
            message=message.format(total=total),
            details=name_in_alert(connection, named, total),
        ),
    )
    return total


def _last_dml(row: Row[Any]) -> str:
    if row.last_dml_timestamp is None:
        return "never written"
    return f"last DML {row.last_dml_timestamp.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _interval(row: Row[Any]) -> str:
    return f"{row.freshness_number} {row.freshness_datepart}(s)"
