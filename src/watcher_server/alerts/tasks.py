"""The task that delivers an alert."""

from watcher_server.alerts.service import DeliveryError, deliver_alert, record_failed_delivery
from watcher_server.database.engine import sync_engine
from watcher_server.queueing.task import TRANSIENT_ERRORS, watcher_task
from watcher_server.settings import get_settings


@watcher_task("deliver_alert_task", autoretry_for=(*TRANSIENT_ERRORS, DeliveryError))
def deliver_alert_task(alert_id: int) -> dict[str, str | None]:
    """Send an alert to Slack, or to the log where no webhook is configured."""
    try:
        with sync_engine().begin() as connection:
            return {"delivered_to": deliver_alert(connection, alert_id, get_settings())}
    except DeliveryError as error:
        with sync_engine().begin() as connection:
            record_failed_delivery(connection, alert_id, str(error))
        raise
