"""Alerts as pages show them: what was sent, where, what it is about, and whether it got there."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Select, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.models import Alert, AlertSubject, Notification
from watcher_server.kit.listing import contains

_UNSENT = ("waiting", "sending", "given_up")


class Channel(NamedTuple):
    """How deliveries go, as of ``now``: ``undelivered`` of all messages, of which ``failed`` were tried."""

    now: datetime
    undelivered: int
    failed: int
    last_to_slack: datetime | None


class Told(NamedTuple):
    """An alert and its delivery; without one it was raised before deliveries were kept."""

    alert: Alert
    notification: Notification | None


class ToldOf(NamedTuple):
    """An alert about a pipeline or an execution, and which execution it is about, if any."""

    execution_id: int | None
    told: Told


async def read_channel(session: AsyncSession) -> Channel:
    """How the deliveries of alerts go."""
    # Notifications are few, tens of thousands at most: one pass, without an index of its own.
    statement = """
        SELECT now(), count(*) FILTER (WHERE state IN ('waiting', 'sending', 'given_up') AND reason IS NULL),
            count(*) FILTER (WHERE state IN ('waiting', 'sending', 'given_up') AND attempts > 0),
            max(sent_at) FILTER (WHERE sent_to = 'slack')
        FROM notification
    """
    return Channel._make((await session.execute(text(statement))).one())


def _told(*columns: Any) -> Select[Any]:
    """Alerts, each with its first notification, by the unique key of notifications; with further columns."""
    first = select(func.min(Notification.id)).where(Notification.alert_id == Alert.id).correlate(Alert)
    deliveries = Notification.id == first.scalar_subquery()
    return select(Alert, Notification, *columns).select_from(Alert).outerjoin(Notification, deliveries)


async def read_alerts(
    session: AsyncSession,
    *,
    level: str | None = None,
    delivered: Literal["yes", "no", "failed"] | None = None,
    q: str | None = None,
    days: int | None = None,
    alert: int | None = None,
    limit: int,
    offset: int,
) -> tuple[Sequence[Told], bool]:
    """A page of alerts, the newest first, by primary key; and whether another page follows.

    Only those of a level; delivered, waiting (no) or failed; with the text ``q``; of the last days; or that one.
    """
    statement = _told().order_by(Alert.id.desc()).limit(limit + 1).offset(offset)
    if alert is not None:
        statement = statement.where(Alert.id == alert)
    if level is not None:
        statement = statement.where(Alert.level == level)
    if delivered == "yes":
        statement = statement.where(Notification.state.not_in(_UNSENT))
    elif delivered is not None:
        tried = Notification.attempts > 0 if delivered == "failed" else Notification.attempts == 0
        statement = statement.where(Notification.state.in_(_UNSENT), tried)
    if q is not None:
        pattern = contains(q)
        statement = statement.where(or_(Alert.title.ilike(pattern), Alert.message.ilike(pattern)))
    if days is not None:
        statement = statement.where(Alert.created_at >= func.now() - timedelta(days=days))
    found = [Told._make(row) for row in await session.execute(statement)]
    return found[:limit], len(found) > limit


async def read_subjects(session: AsyncSession, alert_ids: Collection[int]) -> Mapping[int, Sequence[AlertSubject]]:
    """What these alerts are about, by the alert's id, by ix_alert_subject_alert_id."""
    statement = select(AlertSubject).where(AlertSubject.alert_id.in_(alert_ids)).order_by(AlertSubject.id)
    found: dict[int, list[AlertSubject]] = defaultdict(list)
    for subject in await session.scalars(statement):
        found[subject.alert_id].append(subject)
    return found


async def read_alerts_of_pipeline(session: AsyncSession, pipeline_id: int, since: datetime) -> Sequence[ToldOf]:
    """The alerts about a pipeline raised since a moment, the oldest first, by ix_alert_subject_pipeline_id."""
    return await _read_told(session, (AlertSubject.pipeline_id == pipeline_id) & (Alert.created_at >= since))


async def read_alerts_of_executions(session: AsyncSession, execution_ids: Collection[int]) -> Sequence[ToldOf]:
    """The alerts about these executions, the oldest first, by ix_alert_subject_execution_id."""
    return await _read_told(session, AlertSubject.execution_id.in_(execution_ids)) if execution_ids else []


async def _read_told(session: AsyncSession, about: ColumnElement[bool]) -> list[ToldOf]:
    """Each alert once for each execution, although it may be about several incidents of that."""
    statement = _told(AlertSubject.execution_id).join(AlertSubject, AlertSubject.alert_id == Alert.id).where(about)
    found = {
        (alert.id, execution_id): ToldOf(execution_id, Told(alert, notification))
        for alert, notification, execution_id in await session.execute(statement.order_by(Alert.id))
    }
    return list(found.values())
