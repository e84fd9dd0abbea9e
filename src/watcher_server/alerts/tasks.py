"""The task that delivers an alert."""

from watcher_server.alerts.service import DeliveryError, deliver_alert, record_failed_delivery, redeliver_alerts
from watcher_server.queueing.task import TRANSIENT_ERRORS, task_transaction, watcher_task
from watcher_server.settings import get_settings

# Longer than Slack ever takes to answer; a webhook that drips its answer is cut off, and tried again.
_LONGEST_DELIVERY_SECONDS = 30


@watcher_task(
    "deliver_alert_task",
    status="Delivering an alert...",
    autoretry_for=(*TRANSIENT_ERRORS, DeliveryError),
    soft_time_limit=_LONGEST_DELIVERY_SECONDS,
    time_limit=2 * _LONGEST_DELIVERY_SECONDS,
)
def deliver_alert_task(alert_id: int) -> dict[str, str | None]:
    """Send an alert to Slack, or to the log where no webhook is configured."""
    try:
        with task_transaction() as connection:
            return {"delivered_to": deliver_alert(connection, alert_id, get_settings())}
    except DeliveryError as error:
        with task_transaction() as connection:
            record_failed_delivery(connection, alert_id, str(error))
        raise


@watcher_task("redeliver_alerts_task", status="Looking for undelivered alerts...")
def redeliver_alerts_task() -> dict[str, int]:
    """Have alerts tried again that could not be delivered."""
    with task_transaction() as connection:
        return {"alerts": redeliver_alerts(connection, max_age_hours=get_settings().alert_max_age_hours)}
