"""The deliveries of alerts: which there are, and having one tried again."""

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.models import AlertSubject, Notification
from watcher_server.audit.service import Change, record_in
from watcher_server.database.rows import find
from watcher_server.kit.errors import ConflictError
from watcher_server.kit.listing import Page, list_statement
from watcher_server.tasking.sending.outbox import enqueue_async
from watcher_server.tasking.wire import ALERTS_QUEUE


async def list_notifications(
    session: AsyncSession,
    page: Page,
    *,
    state: str | None = None,
    channel: str | None = None,
    incident_id: int | None = None,
    alert_id: int | None = None,
) -> Sequence[Notification]:
    """A page of the notifications of a state, a channel, an incident or an alert, by id."""
    statement = list_statement(Notification, state=state, channel=channel, alert_id=alert_id)
    if incident_id is not None:
        # By ix_alert_subject_incident_id.
        about = select(AlertSubject.alert_id).where(AlertSubject.incident_id == incident_id)
        statement = statement.where(Notification.alert_id.in_(about))
    return (await session.scalars(page.of(statement))).all()


# Somebody who asks for it knows, or hopes, that the channel works again.
_TRY_AGAIN = """
WITH asked AS (
    UPDATE notification SET state = 'waiting', next_try_at = now(), asked_at = now(), sent_in = NULL, reason = NULL
    WHERE id = :id AND state IN ('waiting', 'given_up', 'skipped')
    RETURNING alert_id, channel
), woken AS (
    UPDATE channel SET paused_until = now() FROM asked WHERE channel.name = asked.channel AND paused_until > now()
)
SELECT alert_id FROM asked
"""


async def retry_notification(session: AsyncSession, notification_id: int) -> Notification:
    """Have a notification tried again now, however old it is, and for as long as a new one; as it is then.

    Raises:
        NotFoundError: there is no such notification.
        ConflictError: it was sent, is being sent, or is said by another.
    """
    notification = await find(session, Notification, notification_id)
    alert_id = await session.scalar(text(_TRY_AGAIN), {"id": notification_id})
    await session.refresh(notification)
    if alert_id is None:
        raise ConflictError(_why_not(notification))
    await enqueue_async(session, "deliver_alert_task", ALERTS_QUEUE, alert_id=alert_id)
    await record_in(session, Change("resend", "notification", notification_id, f"to {notification.channel}"))
    return notification


def _why_not(notification: Notification) -> str:
    what = f"Notification {notification.id}"
    if notification.state == "merged":
        return f"{what} is said by notification {notification.sent_in}: there is nothing to send."
    if notification.state == "sent":
        return f"{what} has been sent to {notification.sent_to}: there is nothing to send."
    return f"{what} is being sent at this moment."


# Those given up longer ago than a week tell nobody anything new. By ix_notification_waiting, and a pass over the rest.
_RESEND = """
WITH asked AS (
    UPDATE notification SET state = 'waiting', next_try_at = now(), asked_at = now(), sent_in = NULL
    WHERE channel = :channel AND (
        state = 'waiting' AND attempts > 0 OR state = 'given_up' AND created_at > now() - interval '7 days'
    )
    RETURNING alert_id
), woken AS (
    UPDATE channel SET paused_until = now() WHERE name = :channel AND paused_until > now()
)
SELECT count(*) AS asked, min(alert_id) AS first FROM asked
"""


async def resend(session: AsyncSession, channel: str) -> int:
    """Have everything tried again that did not arrive in a channel, now; how many messages that are."""
    row = (await session.execute(text(_RESEND), {"channel": channel})).one()
    if row.asked:
        await enqueue_async(session, "deliver_alert_task", ALERTS_QUEUE, alert_id=row.first)
        await record_in(session, Change("resend", "channel", channel, channel, after={"messages": row.asked}))
    return int(row.asked)
