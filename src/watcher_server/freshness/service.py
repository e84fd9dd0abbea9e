"""Which pipelines have not written for too long."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.service import Level, NewAlert, raise_alert
from watcher_server.queueing.configuration import SCHEDULED_QUEUE
from watcher_server.queueing.outbox import enqueue_async

# The pipelines that an alert names; of more, it gives the number.
_NAMED_IN_ALERT = 20

# One pass over the pipelines; no index could help. The log's unique key (pipeline, last DML) makes each stale
# state new once; written in one order, so that two checks at once wait for each other and do not deadlock.
_LOG_STALE = """
WITH checked AS (
    SELECT pipeline.id, pipeline.created_at,
        greatest(last_target_insert, last_target_update, last_target_soft_delete) AS last_dml,
        coalesce(pipeline.freshness_number, pipeline_type.freshness_number) AS number,
        coalesce(pipeline.freshness_datepart, pipeline_type.freshness_datepart) AS datepart,
        pipeline.freshness_number IS NOT NULL AS own
    FROM pipeline JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
    WHERE pipeline.active AND NOT pipeline.mute_freshness_check AND NOT pipeline_type.mute_freshness_check
), logged AS (
    INSERT INTO freshness_pipeline_log
        (pipeline_id, last_dml_timestamp, freshness_number, freshness_datepart, used_child_config)
    SELECT id, last_dml, number, datepart, own
    FROM checked
    WHERE number IS NOT NULL AND watcher_deadline(coalesce(last_dml, created_at), number, datepart) < now()
    ORDER BY id
    ON CONFLICT (pipeline_id, last_dml_timestamp, severity) DO NOTHING
    RETURNING id, pipeline_id, last_dml_timestamp, freshness_number, freshness_datepart
)
SELECT pipeline.name, last_dml_timestamp, logged.freshness_number, logged.freshness_datepart,
    count(*) OVER () AS total, max(logged.id) OVER () AS newest_id
FROM logged JOIN pipeline ON pipeline.id = logged.pipeline_id
ORDER BY logged.id LIMIT :named
"""


async def queue_freshness_check(session: AsyncSession) -> None:
    """Have the check run once this transaction has committed."""
    await enqueue_async(session, "freshness_check_task", SCHEDULED_QUEUE)


def check_freshness(connection: Connection) -> int:
    """Log every stale state that is new, and raise one alert for all of them; how many those were.

    A pipeline is stale when its last insert, update or soft delete, or its creation if there was none, lies
    longer ago than its freshness interval, or its type's where it has none. Inactive and muted ones are not
    checked.
    """
    stale = connection.execute(text(_LOG_STALE), {"named": _NAMED_IN_ALERT}).all()
    if not stale:
        return 0
    total: int = stale[0].total
    raise_alert(
        connection,
        NewAlert(
            dedupe_key=f"freshness:{stale[0].newest_id}",
            level=Level.WARNING,
            title="Freshness Check - Pipeline DML",
            message=f"Freshness Check Failed - {total} NEW pipeline(s) overdue",
            details=_describe(stale, total),
        ),
    )
    return total


def _describe(stale: Sequence[Row[Any]], total: int) -> list[tuple[str, str]]:
    details = [(row.name, f"{_last_dml(row)}, expected every {_interval(row)}") for row in stale]
    if total > len(stale):
        details.append(("Others", f"and {total - len(stale)} more"))
    return details


def _last_dml(row: Row[Any]) -> str:
    if row.last_dml_timestamp is None:
        return "never written"
    return f"last DML {row.last_dml_timestamp.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _interval(row: Row[Any]) -> str:
    return f"{row.freshness_number} {row.freshness_datepart}(s)"
