"""The cap of a channel: a token bucket. What is over it waits for a token, and is then told in one message."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.config.fields import Cap, parse_cap
from watcher_server.alerts.routing.reasons import CAPPED

# The row of the channel is locked already: its lane is in the hands of this process.
_BUCKET = """
SELECT spec ->> 'cap' AS cap, cap_tokens, extract(epoch FROM now() - cap_at)::float8 AS seconds
FROM channel WHERE name = :channel
"""

# By ix_notification_waiting. What was tried already counts as told, and what is critical passes.
_HOLD = """
UPDATE notification SET reason = :reason, next_try_at = now() + make_interval(secs => :seconds)
FROM alert
WHERE alert.id = notification.alert_id AND notification.channel = :channel AND notification.state = 'waiting'
    AND notification.attempts = 0 AND notification.next_try_at <= now() AND alert.level <> 'CRITICAL'
"""


@dataclass(frozen=True)
class Bucket:
    """How many messages may go out now: ``tokens`` of at most ``cap.messages``."""

    cap: Cap
    tokens: float

    @property
    def seconds_to_next(self) -> float:
        """Seconds until there is a token; 0 while there is one."""
        per_second = self.cap.messages / self.cap.per.total_seconds()
        return max(0.0, (1 - self.tokens) / per_second)


def read_bucket(connection: Connection, channel: str) -> Bucket | None:
    """The bucket of a channel as it is now, full before its first use; None for one without a cap."""
    row: Row[Any] | None = connection.execute(text(_BUCKET), {"channel": channel}).one_or_none()
    if row is None or row.cap is None:
        return None
    cap = parse_cap(row.cap)
    # Tokens come back evenly.
    gained = cap.messages * (row.seconds or 0) / cap.per.total_seconds()
    return Bucket(cap, float(cap.messages) if row.cap_tokens is None else min(cap.messages, row.cap_tokens + gained))


def hold_over_cap(connection: Connection, channel: str) -> None:
    """Hold back what is due there while there is no token for it."""
    bucket = read_bucket(connection, channel)
    if bucket is not None and bucket.tokens < 1:
        parameters = {"channel": channel, "reason": CAPPED, "seconds": bucket.seconds_to_next}
        connection.execute(text(_HOLD), parameters)


def spend(connection: Connection, channel: str) -> None:
    """Take a token for a message that goes out now; what is critical goes out without one, too."""
    bucket = read_bucket(connection, channel)
    if bucket is not None:
        statement = text("UPDATE channel SET cap_tokens = :tokens, cap_at = now() WHERE name = :channel")
        connection.execute(statement, {"channel": channel, "tokens": max(0.0, bucket.tokens - 1)})
