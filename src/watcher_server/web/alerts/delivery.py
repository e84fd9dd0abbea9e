"""An alert that did not arrive: what to do about it, and sending it again."""

import re
from http import HTTPStatus

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config.schemas import DEFAULT
from watcher_server.alerts.models import Alert, Notification
from watcher_server.alerts.notifications import retry_notification
from watcher_server.database.rows import find
from watcher_server.incidents.schemas import DeliveryResponse
from watcher_server.kit.errors import ConflictError


def advice(notification: Notification | DeliveryResponse) -> str:
    """One sentence that says what to do."""
    if notification.last_error is None:
        return "No worker has taken it yet: check on the tasks page that one is alive."
    if notification.channel != DEFAULT:
        return f"Read what the other side answered, then try it: `watcher channels test {notification.channel}`."
    status = re.search(r"status (\d{3})", notification.last_error)
    if status is None:
        return "Let the workers reach Slack: check their network, proxy and DNS."
    code = int(status[1])
    if code in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNAUTHORIZED}:
        return "Slack no longer knows this webhook: make a new one, and set WATCHER_SLACK_WEBHOOK_URL."
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "Slack is busy or away: nothing to do but wait."
    return "Slack refuses it: check that WATCHER_SLACK_WEBHOOK_URL is the address of an incoming webhook."


async def send_again(session: AsyncSession, alert_id: int) -> None:
    """Have an alert that did not arrive tried once more, however old it is.

    Raises:
        NotFoundError: no such alert.
        ConflictError: it has been delivered, or is being delivered.
    """
    await find(session, Alert, alert_id)
    unsent = select(Notification.id).where(
        Notification.alert_id == alert_id, Notification.state.in_(("waiting", "given_up"))
    )
    notification_ids = (await session.scalars(unsent)).all()
    if not notification_ids:
        raise ConflictError(f"Alert {alert_id} has been delivered: there is nothing to send.")
    for notification_id in notification_ids:
        await retry_notification(session, notification_id)
