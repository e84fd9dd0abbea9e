"""What the alerts page reads: one page of alerts, how the channel does, and what the alerts are about."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.models import Alert
from watcher_server.kit.listing import contains
from watcher_server.settings import Settings
from watcher_server.web.alerts.query import AlertQuery
from watcher_server.web.paging import PAGE_SIZE

# Alerts are few, tens of thousands at most, and all but a few are delivered: one pass, without an index of its own.
_CHANNEL = """
SELECT now() AS now, count(*) FILTER (WHERE delivered_at IS NULL) AS undelivered,
    count(*) FILTER (WHERE delivered_at IS NULL AND attempts > 0) AS failed,
    max(delivered_at) FILTER (WHERE delivered_to = 'slack') AS last_to_slack
FROM alert
"""

# Those that failed for good by ix_task_failed.
_FAILED_DELIVERIES = """
SELECT DISTINCT ON (kwargs->'alert_id') CAST(kwargs->>'alert_id' AS bigint) AS alert_id, id AS task_id
FROM task
WHERE state = 'FAILURE' AND name = 'deliver_alert_task'
    AND kwargs->'alert_id' = ANY (SELECT to_jsonb(wanted) FROM unnest(CAST(:ids AS bigint[])) AS wanted)
ORDER BY kwargs->'alert_id', created_at DESC
"""

# By the unique key of names.
_PIPELINES = """
SELECT pipeline.name, pipeline.id FROM unnest(CAST(:names AS text[])) AS wanted (name) JOIN pipeline USING (name)
"""


@dataclass(frozen=True)
class Channel:
    """Where alerts go, and how that goes: ``undelivered`` of all alerts, of which ``failed`` were tried."""

    is_slack: bool
    now: datetime
    undelivered: int
    failed: int
    last_to_slack: datetime | None


async def read_channel(session: AsyncSession, settings: Settings) -> Channel:
    """How the channel of alerts does."""
    row = (await session.execute(text(_CHANNEL))).one()
    return Channel(settings.slack_webhook_url is not None, *row)


async def read_alerts(session: AsyncSession, query: AlertQuery) -> tuple[Sequence[Row[Any]], bool]:
    """A page of alerts, the newest first, by primary key; and whether another page follows."""
    statement = (
        select(Alert.__table__)
        .where(*_conditions(query))
        .order_by(Alert.id.desc())
        .limit(PAGE_SIZE + 1)
        .offset((query.page - 1) * PAGE_SIZE)
    )
    rows = (await session.execute(statement)).all()
    return rows[:PAGE_SIZE], len(rows) > PAGE_SIZE


def _conditions(query: AlertQuery) -> Iterator[ColumnElement[bool]]:
    if query.alert is not None:
        yield Alert.id == query.alert
    if query.level is not None:
        yield Alert.level == query.level
    if query.delivered == "yes":
        yield Alert.delivered_at.is_not(None)
    elif query.delivered is not None:
        yield Alert.delivered_at.is_(None)
        yield Alert.attempts > 0 if query.delivered == "failed" else Alert.attempts == 0
    if query.q is not None:
        pattern = contains(query.q)
        yield or_(Alert.title.ilike(pattern), Alert.message.ilike(pattern))
    if query.days is not None:
        yield Alert.created_at >= func.now() - timedelta(days=query.days)


async def read_failed_deliveries(session: AsyncSession, alerts: Sequence[Row[Any]]) -> dict[int, str]:
    """The tasks that failed for good to deliver these alerts, by the alert's id."""
    undelivered = [alert.id for alert in alerts if alert.delivered_at is None]
    if not undelivered:
        return {}
    rows = await session.execute(text(_FAILED_DELIVERIES), {"ids": undelivered})
    return {row.alert_id: str(row.task_id) for row in rows}


async def read_pipelines(session: AsyncSession, names: set[str]) -> dict[str, int]:
    """The ids of the pipelines of these names; what is none is left out."""
    if not names:
        return {}
    return {row.name: row.id for row in await session.execute(text(_PIPELINES), {"names": sorted(names)})}
