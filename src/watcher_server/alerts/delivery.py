"""Delivering alerts: what a worker does for one that was raised, and the keeper for those that nobody has sent."""

import logging
from typing import NamedTuple

from sqlalchemy import Engine, text

from watcher_server.alerts.lanes import is_due, tell
from watcher_server.alerts.models import Alert
from watcher_server.database.rows import find_missing
from watcher_server.settings import Settings

logger = logging.getLogger(__name__)


class Delivery(NamedTuple):
    """Where an alert went, None unless it was sent; and whether anything else is due to its channels.

    One that is not ``known`` does not exist.
    """

    sent_to: str | None
    more_is_due: bool
    known: bool


def deliver_alert(engine: Engine, alert_id: int, settings: Settings, *, seconds: float) -> Delivery:
    """Send what waits for the channels of an alert, for about ``seconds`` seconds for each of them at most."""
    # By the unique key of notifications, as below.
    told = "SELECT channel FROM notification WHERE alert_id = :alert_id ORDER BY id"
    sent_to = "SELECT sent_to FROM notification WHERE alert_id = :alert_id AND state = 'sent' ORDER BY id LIMIT 1"
    with engine.connect() as connection:
        channels = connection.scalars(text(told), {"alert_id": alert_id}).all()
    for channel in channels:
        tell(engine, channel, settings, seconds=seconds)
    more_is_due = any(is_due(engine, channel, settings) for channel in channels)
    with engine.connect() as connection:
        known = bool(channels) or not find_missing(connection, Alert, [alert_id])
        return Delivery(connection.scalar(text(sent_to), {"alert_id": alert_id}), more_is_due, known)


def deliver_late_alerts(engine: Engine, settings: Settings, *, late_seconds: float, seconds: float) -> int:
    """Send what has been due for so long; how many messages arrived. Among them are those that wait for another try.

    It takes about ``seconds`` for each channel at most.
    """
    # By ix_notification_waiting, which holds what was not sent.
    late = """
        SELECT DISTINCT notification.channel FROM notification LEFT JOIN channel ON channel.name = notification.channel
        WHERE state IN ('waiting', 'sending') AND next_try_at <= now() - make_interval(secs => :late_seconds)
            AND (lease IS NULL OR leased_until <= now()) AND (paused_until IS NULL OR paused_until <= now())
        ORDER BY notification.channel
    """
    # On autocommit it is one round trip, and this is asked every two seconds.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        channels = connection.scalars(text(late), {"late_seconds": late_seconds}).all()
    told = sum(tell(engine, channel, settings, seconds=seconds) for channel in channels)
    if told:
        logger.info("Sent %d alerts that no worker had sent.", told)
    return told
