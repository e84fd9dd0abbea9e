"""Raising alerts and delivering them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import httpx
from sqlalchemy import Connection, Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from watcher_server.alerts.models import Alert
from watcher_server.queueing.configuration import SCHEDULED_QUEUE
from watcher_server.queueing.outbox import enqueue
from watcher_server.settings import Settings

logger = logging.getLogger(__name__)
# Without a webhook the log is where alerts go: they are written whatever level the rest of the log has.
logger.setLevel(logging.WARNING)
# httpx writes whole URLs at INFO, and the webhook's URL is a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)

_SLACK_TIMEOUT_SECONDS = 10
# By now the delivery's own retries are over.
_GIVEN_UP_MINUTES = 15
_REDELIVERED_AT_ONCE = 100
# Slack cuts a text at 40,000 characters; a reader stops long before.
_LONGEST_TEXT = 3_500


class Level(StrEnum):
    """How bad it is."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"
    RESOLVED = "RESOLVED"


_SYMBOLS = {"INFO": "ℹ️", "WARNING": "⚠️", "ERROR": "❌", "CRITICAL": "🚨", "RESOLVED": "✅"}  # noqa: RUF001 - the symbol of the contract


@dataclass(frozen=True)
class NewAlert:
    """An alert to raise. ``dedupe_key`` names its cause: one cause is alerted once, however often it is found."""

    dedupe_key: str
    level: Level
    title: str
    message: str
    details: Sequence[tuple[str, str]] = field(default_factory=tuple)


class DeliveryError(Exception):
    """The alert did not arrive, and a later try may succeed; the message holds no secret."""


def raise_alert(connection: Connection, alert: NewAlert) -> bool:
    """Store the alert and have it delivered once this transaction commits; False when it was raised before."""
    statement = (
        insert(Alert)
        .values(
            dedupe_key=alert.dedupe_key,
            level=alert.level.value,
            title=alert.title,
            message=alert.message,
            details=[list(pair) for pair in alert.details],
        )
        .on_conflict_do_nothing(index_elements=[Alert.dedupe_key])
        .returning(Alert.id)
    )
    alert_id = connection.scalar(statement)
    if alert_id is None:
        return False
    enqueue(connection, "deliver_alert_task", SCHEDULED_QUEUE, alert_id=alert_id)
    return True


def alert_text(*, level: str, title: str, message: str, details: Sequence[Sequence[str]], created_at: datetime) -> str:
    """The alert as people read it: level, title, timestamp in UTC, message, details."""
    moment = created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    lines = [f"{_SYMBOLS[level]} {level}", title, f"Timestamp: {moment}", f"Message: {_one_line(message)}"]
    if details:
        lines += ["", "Details:", *(f"• {_one_line(label)}: {_one_line(value)}" for label, value in details)]
    whole = "\n".join(lines)
    return whole if len(whole) <= _LONGEST_TEXT else whole[: _LONGEST_TEXT - 1] + "…"


def _one_line(text: str) -> str:
    # A pipeline's name may hold line breaks; it must not be able to write lines of its own.
    return " ".join(text.splitlines())


def deliver_alert(connection: Connection, alert_id: int, settings: Settings) -> str | None:
    """Send one alert that was not delivered yet; where it went, or None when there was nothing to do.

    The row stays locked while it is sent, so two deliveries of the same alert send it once.

    Raises:
        DeliveryError: Slack did not take it now, but may later.
    """
    alert = connection.execute(select(Alert.__table__).where(Alert.id == alert_id).with_for_update()).one_or_none()
    if alert is None or alert.delivered_at is not None:
        return None
    channel = _send(alert, settings)
    connection.execute(
        update(Alert)
        .where(Alert.id == alert_id)
        .values(delivered_at=func.now(), delivered_to=channel, attempts=Alert.attempts + 1, last_error=None)
    )
    return channel


# Few rows are ever undelivered, and alerts are few: no index of its own.
_UNDELIVERED = """
SELECT id FROM alert
WHERE delivered_at IS NULL
    AND created_at BETWEEN now() - make_interval(hours => :max_age_hours) AND now() - make_interval(mins => :minutes)
ORDER BY id LIMIT :at_once
"""


def redeliver_alerts(connection: Connection, *, max_age_hours: int) -> int:
    """Have alerts tried again that no retry could deliver, such as while Slack was away for long; how many.

    What is older than ``max_age_hours`` stays undelivered, with its reason in the row: nobody wants it any more.
    """
    values = {"max_age_hours": max_age_hours, "minutes": _GIVEN_UP_MINUTES, "at_once": _REDELIVERED_AT_ONCE}
    alert_ids = connection.scalars(text(_UNDELIVERED), values).all()
    for alert_id in alert_ids:
        enqueue(connection, "deliver_alert_task", SCHEDULED_QUEUE, alert_id=alert_id)
    return len(alert_ids)


def record_failed_delivery(connection: Connection, alert_id: int, error: str) -> None:
    """Keep why an alert did not arrive."""
    connection.execute(update(Alert).where(Alert.id == alert_id).values(attempts=Alert.attempts + 1, last_error=error))


def _send(alert: Row[Any], settings: Settings) -> str:
    message = alert_text(
        level=alert.level,
        title=alert.title,
        message=alert.message,
        details=alert.details,
        created_at=alert.created_at,
    )
    if settings.slack_webhook_url is None:
        logger.warning("%s", message)
        return "log"
    _post_to_slack(settings.slack_webhook_url.get_secret_value(), message)
    return "slack"


def _post_to_slack(url: str, message: str) -> None:
    # Slack reads these three as mark-up: a name could mention a channel, or show a link as something else.
    escaped = message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # The URL is the secret: httpx's errors, which quote it, are not passed on.
    try:
        response = httpx.post(url, json={"text": escaped}, timeout=_SLACK_TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DeliveryError(f"Slack could not be reached ({type(error).__name__})") from None
    if not response.is_success:
        raise DeliveryError(f"Slack answered with status {response.status_code}")
