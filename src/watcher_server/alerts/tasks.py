"""The tasks about alerts. The keeper looks for late alerts by itself; a task does the same when it is called."""

from watcher_server.alerts.delivery import deliver_alert, deliver_late_alerts
from watcher_server.database.engine import sync_engine
from watcher_server.settings import get_settings
from watcher_server.tasking.sending.task import watcher_task
from watcher_server.tasking.wire import ALERTS_QUEUE

# For so long a task sends what is due, and leaves the rest to another: a worker that is stopped waits for its end.
_SENDING_SECONDS = 15.0
# A message takes ten seconds at most.
_LONGEST_DELIVERY_SECONDS = 45


@watcher_task(
    "deliver_alert_task",
    status="Delivering an alert...",
    soft_time_limit=_LONGEST_DELIVERY_SECONDS,
    time_limit=2 * _LONGEST_DELIVERY_SECONDS,
)
def deliver_alert_task(alert_id: int) -> dict[str, str | None]:
    """Send what waits for the channels of an alert; where the alert itself went, None unless it was sent."""
    delivery = deliver_alert(sync_engine(), alert_id, get_settings(), seconds=_SENDING_SECONDS)
    if delivery.more_is_due:
        deliver_alert_task.apply_async(kwargs={"alert_id": alert_id}, queue=ALERTS_QUEUE)
    if not delivery.known:
        return {"delivered_to": None, "skipped": "no such alert"}
    return {"delivered_to": delivery.sent_to}


@watcher_task("redeliver_alerts_task", status="Looking for undelivered alerts...")
def redeliver_alerts_task() -> dict[str, int]:
    """Send what is due and was not sent."""
    return {"alerts": deliver_late_alerts(sync_engine(), get_settings(), late_seconds=0, seconds=_SENDING_SECONDS)}
