"""Alerts that no worker delivered in time, delivered by the keeper."""

import logging

from sqlalchemy import Connection, Engine, text

from watcher_server.alerts.service import DeliveryError, deliver_alert, record_failed_delivery
from watcher_server.settings import Settings

logger = logging.getLogger(__name__)

# A worker that is free takes less than a second.
_LATE_SECONDS = 60
_MINUTES_BETWEEN_TRIES = 5
_AT_ONCE = 20

# Few rows are ever undelivered, and alerts are few: no index of its own. One that was tried is the business of the
# delivery's own retries while any worker lives, and of this while none does.
_LATE = """
SELECT id FROM alert
WHERE delivered_at IS NULL
    AND created_at BETWEEN now() - make_interval(hours => :max_age_hours) AND now() - make_interval(secs => :late)
    AND (attempts = 0 OR (
        created_at < now() - make_interval(mins => attempts * :pause)
        AND NOT EXISTS (SELECT FROM worker WHERE stopped_at IS NULL AND seen_at > now() - interval '30 seconds')))
ORDER BY id LIMIT :at_once
"""


def deliver_late_alerts(engine: Engine, settings: Settings) -> int:
    """Deliver what should have been delivered by now; how many were. Each in a transaction of its own."""
    with engine.connect() as connection:
        late = _find_late(connection, settings)
    return sum(_deliver(engine, alert_id, settings) for alert_id in late)


def _find_late(connection: Connection, settings: Settings) -> list[int]:
    values = {
        "max_age_hours": settings.alert_max_age_hours,
        "late": _LATE_SECONDS,
        "pause": _MINUTES_BETWEEN_TRIES,
        "at_once": _AT_ONCE,
    }
    return list(connection.scalars(text(_LATE), values))


def _deliver(engine: Engine, alert_id: int, settings: Settings) -> bool:
    try:
        with engine.begin() as connection:
            delivered_to = deliver_alert(connection, alert_id, settings)
    except DeliveryError as error:
        with engine.begin() as connection:
            record_failed_delivery(connection, alert_id, str(error))
        return False
    if delivered_to is not None:
        logger.warning("No worker delivered alert %d within %d s: the keeper did.", alert_id, _LATE_SECONDS)
    return delivered_to is not None
