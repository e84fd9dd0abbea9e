"""Having an alert sent again."""

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.models import Alert
from watcher_server.kit.configuration import find
from watcher_server.kit.errors import ConflictError
from watcher_server.queueing.configuration import SCHEDULED_QUEUE
from watcher_server.queueing.outbox import enqueue_async


async def send_again(session: AsyncSession, alert_id: int) -> None:
    """Have an alert that did not arrive tried once more, however old it is. Should two try at once, it is sent once.

    Raises:
        NotFoundError: no such alert.
        ConflictError: it has been delivered.
    """
    alert = await find(session, Alert, alert_id)
    if alert.delivered_at is not None:
        raise ConflictError(f"Alert {alert_id} has been delivered to {alert.delivered_to}: there is nothing to send.")
    await enqueue_async(session, "deliver_alert_task", SCHEDULED_QUEUE, alert_id=alert_id)
