"""The lane of a channel: one process at a time sends what waits for it, one message after the other.

It claims a notification, commits, sends it, and commits what came of it: no transaction is open while the other side is
asked. Should the process die, its lease lapses, and the message at hand is sent again: it may have arrived.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import Connection, Engine, text

from watcher_server.alerts.backlog import Next, Storm, choose, read_backlog
from watcher_server.alerts.channels.snapshot import Snapshot
from watcher_server.alerts.composing import compose
from watcher_server.alerts.outcome import Outcome, channel_seconds, retry_seconds
from watcher_server.alerts.routing.caps import hold_over_cap, spend
from watcher_server.alerts.routing.gathering import tell_held
from watcher_server.alerts.sending import ChannelRow, send
from watcher_server.alerts.storms import gather_storm
from watcher_server.settings import Settings

# Longer than any message takes, and renewed for each. After that the sender counts as dead.
LEASE_SECONDS = 90
# A pause that is no longer than this is waited for with the lease in hand.
_PATIENCE_SECONDS = 5.0


class LeaseLostError(Exception):
    """Another process has the lane by now: what this one knows is no longer so."""


@dataclass(frozen=True)
class Claim:
    """A notification that is being sent: where and what, the notifications that it stands for, and which try it is."""

    id: int
    channel: ChannelRow
    snapshot: Snapshot
    instead_of: Sequence[int]
    attempts: int


def tell(engine: Engine, channel: str, settings: Settings, *, seconds: float) -> int:
    """Send what is due to the channel, for this many seconds at most; how many messages arrived.

    Returns at once while another process sends to the channel, or while the channel is left alone. What is committed
    while this process gives the lane back is not forgotten: it looks once more afterwards.
    """
    ends_at = time.monotonic() + seconds
    told = 0
    while time.monotonic() < ends_at and is_due(engine, channel, settings):
        lane = Lane(engine, channel, settings)
        if not lane.take():
            break
        told += lane.run(ends_at)
        lane.give_back()
    return told


def is_due(engine: Engine, channel: str, settings: Settings) -> bool:
    """Whether something can be sent to the channel now, and nobody does."""
    # A channel gets nothing while another process has its lease, or while it is left alone.
    taken = """
        SELECT FROM channel
        WHERE name = :channel AND (lease IS NOT NULL AND leased_until > now() OR paused_until > now())
    """
    with engine.connect() as connection:
        if connection.execute(text(taken), {"channel": channel}).first() is not None:
            return False
        return choose(read_backlog(connection, channel, settings.alert_max_age_hours)) is not None


_TAKE = """
INSERT INTO channel (name, lease, leased_until) VALUES (:channel, :lease, now() + make_interval(secs => :seconds))
ON CONFLICT (name) DO UPDATE SET lease = excluded.lease, leased_until = excluded.leased_until
WHERE (channel.lease IS NULL OR channel.leased_until <= now())
    AND (channel.paused_until IS NULL OR channel.paused_until <= now())
RETURNING name
"""

# Only one process sends to a channel, and this one does now: the process that claimed these has died. Should it be the
# message that kills its senders, others pass.
_LAPSE = """
UPDATE notification SET state = 'waiting', perhaps_sent = true,
    next_try_at = now() + CASE WHEN attempts > 2 THEN interval '5 minutes' ELSE interval '0' END,
    last_error = 'The process that sent it died, so it may have arrived'
WHERE channel = :channel AND state = 'sending'
"""

_RENEW = """
UPDATE channel SET leased_until = now() + make_interval(secs => :seconds)
WHERE name = :channel AND lease = :lease
"""


class Lane:
    """The lane of one channel, in the hands of this process once it was taken."""

    def __init__(self, engine: Engine, channel: str, settings: Settings) -> None:
        self._engine = engine
        self._channel = channel
        self._settings = settings
        self._holder = {"channel": channel, "lease": uuid4(), "seconds": LEASE_SECONDS}

    def take(self) -> bool:
        """Take the lane, unless another process has it or the channel is left alone; whether that worked."""
        with self._engine.begin() as connection:
            if connection.scalar(text(_TAKE), self._holder) is None:
                return False
            connection.execute(text(_LAPSE), {"channel": self._channel})
            give_up_old(connection, self._settings.alert_max_age_hours)
            return True

    def run(self, ends_at: float) -> int:
        """Send one message after the other until nothing is due or the clock shows ``ends_at``; how many arrived."""
        told = 0
        try:
            while time.monotonic() < ends_at and (claim := self.claim()) is not None:
                outcome = send(claim.channel, claim.snapshot, self._settings)
                pause = self.record(claim, outcome)
                told += outcome.sent_to is not None
                if pause > _PATIENCE_SECONDS or time.monotonic() + pause >= ends_at:
                    break
                time.sleep(pause)
        except LeaseLostError:
            pass
        return told

    def claim(self) -> Claim | None:
        """Claim what is said next; None when nothing is due. Raises LeaseLostError: another process has the lane."""
        with self._engine.begin() as connection:
            self._renew(connection)
            following = self._choose(connection)
            if following is None:
                return None
            claim = """
                UPDATE notification SET state = 'sending', attempts = attempts + 1 WHERE id = :id RETURNING attempts
            """
            attempts = int(connection.scalar(text(claim), {"id": following.id}) or 0)
            if attempts == 1:
                spend(connection, self._channel)
            snapshot = compose(connection, following.id, following.instead_of, self._settings)
            channel = "SELECT name, type, spec, secrets FROM channel WHERE name = :channel"
            row = connection.execute(text(channel), {"channel": self._channel}).one()
            return Claim(following.id, ChannelRow._make(row), snapshot, following.instead_of, attempts)

    def _choose(self, connection: Connection) -> Next | None:
        tell_held(connection, self._channel)
        hold_over_cap(connection, self._channel)
        chosen = choose(read_backlog(connection, self._channel, self._settings.alert_max_age_hours))
        while isinstance(chosen, Storm):
            gather_storm(connection, self._channel, chosen.ids)
            chosen = choose(read_backlog(connection, self._channel, self._settings.alert_max_age_hours))
        return chosen

    def record(self, claim: Claim, outcome: Outcome) -> float:
        """Keep what came of a claim; the seconds for which the channel is left alone now.

        Raises:
            LeaseLostError: another process has the lane, and has sent the message again or will.
        """
        with self._engine.begin() as connection:
            self._renew(connection)
            if outcome.sent_to is None:
                return _record_failure(connection, self._channel, claim, outcome)
            values = {"sent_to": outcome.sent_to, "error": outcome.error, "ref": outcome.ref}
            connection.execute(text(_SENT), {"id": claim.id, "instead_of": list(claim.instead_of), **values})
            note_success(connection, self._channel)
            return 0.0

    def give_back(self) -> None:
        """Let another process take the lane."""
        with self._engine.begin() as connection:
            give_back = "UPDATE channel SET lease = NULL, leased_until = NULL WHERE name = :channel AND lease = :lease"
            connection.execute(text(give_back), self._holder)

    def _renew(self, connection: Connection) -> None:
        # This locks the row of the channel: no other process can take the lane before this transaction ends.
        if connection.execute(text(_RENEW), self._holder).rowcount == 0:
            raise LeaseLostError


# What a message that arrived says too: what it was sent instead of, and what it gathered before it was given up.
_SENT = """
WITH said AS (
    UPDATE notification SET state = 'merged', sent_in = :id, last_error = NULL
    WHERE id = ANY(:instead_of) AND state = 'waiting' OR sent_in = :id AND state = 'given_up'
)
UPDATE notification
SET state = 'sent', sent_at = clock_timestamp(), sent_to = :sent_to, last_error = :error, refused = false, ref = :ref
WHERE id = :id
"""

# What failed because of the channel need not wait any longer. What the channel refused goes on at its own pace.
_RECOVER = """
WITH before AS (SELECT failing_since FROM channel WHERE name = :channel), released AS (
    UPDATE notification SET next_try_at = now() FROM before
    WHERE failing_since IS NOT NULL AND channel = :channel AND state = 'waiting' AND attempts > 0 AND NOT refused
        AND next_try_at > now()
)
UPDATE channel SET failures = 0, failing_since = NULL, gone = false, last_error = NULL, last_sent_at = clock_timestamp()
WHERE name = :channel
"""

# What it would have said for others they do not say by themselves before it is tried again.
_FAILED = """
WITH others AS (
    UPDATE notification SET attempts = greatest(attempts, 1),
        next_try_at = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = ANY(:instead_of) AND state = 'waiting'
)
UPDATE notification SET state = 'waiting', last_error = :error, perhaps_sent = perhaps_sent OR :perhaps_sent,
    refused = :refused, arrived = coalesce(CAST(:arrived AS jsonb), arrived),
    next_try_at = clock_timestamp() + make_interval(secs => :seconds)
WHERE id = :id
"""


def note_failure(connection: Connection, channel: str, outcome: Outcome) -> float:
    """Keep that the channel did not take something; the seconds for which it is left alone now."""
    failed = """
        UPDATE channel SET failures = failures + 1, failing_since = coalesce(failing_since, clock_timestamp()),
            gone = gone OR :gone, last_error = :error
        WHERE name = :channel RETURNING failures
    """
    values = {"channel": channel, "gone": outcome.gone, "error": outcome.error}
    pause = channel_seconds(outcome, int(connection.scalar(text(failed), values) or 0))
    if pause:
        leave_alone = """
            UPDATE channel SET paused_until = clock_timestamp() + make_interval(secs => :seconds) WHERE name = :channel
        """
        connection.execute(text(leave_alone), {"channel": channel, "seconds": pause})
    return pause


def note_success(connection: Connection, channel: str) -> None:
    """Keep that the channel takes what it is sent, and let what waited for that go."""
    connection.execute(text(_RECOVER), {"channel": channel})


def _record_failure(connection: Connection, channel: str, claim: Claim, outcome: Outcome) -> float:
    # A message that is refused once more says nothing new about the channel. Several that are refused one after the
    # other do.
    tells_of_channel = not outcome.refused or claim.attempts == 1
    pause = note_failure(connection, channel, outcome) if tells_of_channel else 0.0
    values = {
        "id": claim.id,
        "instead_of": list(claim.instead_of),
        "error": outcome.error,
        "perhaps_sent": outcome.perhaps_sent,
        "refused": outcome.refused,
        "arrived": json.dumps(sorted(outcome.arrived)) if outcome.arrived else None,
        "seconds": pause if outcome.pause_seconds is not None else retry_seconds(claim.attempts),
    }
    connection.execute(text(_FAILED), values)
    return pause


# By ix_notification_waiting. What a message that is given up would have said too is given up with it, and seen as such.
_GIVE_UP = """
WITH old AS (
    UPDATE notification SET state = 'given_up'
    WHERE state = 'waiting' AND reason IS NULL
        AND coalesce(asked_at, created_at) < now() - make_interval(hours => :max_age_hours)
    RETURNING id, last_error
)
UPDATE notification SET state = 'given_up', last_error = old.last_error FROM old
WHERE notification.sent_in = old.id AND notification.state = 'merged'
"""


def give_up_old(connection: Connection, max_age_hours: int) -> None:
    """Give up what waits for longer than that: by then nobody wants to be told any more."""
    connection.execute(text(_GIVE_UP), {"max_age_hours": max_age_hours})
