"""The relay: publishes the outbox to Celery, at least once, from every api process and every worker."""

import logging
import math
import os
import selectors
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from celery import Celery

from watcher_server.database.engine import connect_parameters, session_settings, tell_session
from watcher_server.database.locks import LOCK_HOLDER_SETTINGS
from watcher_server.settings import Settings
from watcher_server.tasking.limits.pacing import Demand, Pacer
from watcher_server.tasking.limits.service import configured_limits, limits_in_force
from watcher_server.tasking.sending.broker_check import away_text
from watcher_server.tasking.sending.coalescing import COALESCED_TASK
from watcher_server.tasking.sending.configuration import broker_configuration
from watcher_server.tasking.sending.publishing import BATCH, MOST_IN_FLIGHT, Due, find_due, publish
from watcher_server.tasking.wire import WAKE_CHANNEL

logger = logging.getLogger(__name__)

# The first pause after a failure; it doubles.
_PAUSE_SECONDS = 1.0
# How soon to look again while the broker holds as much as it may.
_FULL_SECONDS = 0.1
# How soon to look again when called while tasks wait for their turn: most calls then are for more of the same. The
# pacer makes up for a tenth of a second, so no turn is lost.
_CROWDED_SECONDS = 0.08

_SESSION_SETTINGS = {
    **session_settings(timeout_seconds=60),
    # The table is empty whenever the planner's statistics are made, and full of deleted rows when it is busy: left to
    # itself, the planner would read it all to find the oldest.
    "enable_seqscan": "off",
    "enable_sort": "off",
    # When the machine of a relay stands still, its messages are given to other relays after this time.
    "idle_in_transaction_session_timeout": "60s",
    **LOCK_HOLDER_SETTINGS,
}


class Relay:
    """A thread that takes messages from the outbox and sends them to the broker, as fast as each task may go.

    A batch leaves the outbox in the transaction in which it is sent: should the process die in between, another relay
    sends it again under the same task ids. A broker that is away leaves the messages where they are.
    """

    # Rows without a notification, such as those of an api process that died, are found by looking this often.
    look_seconds = 1.0

    def __init__(self, settings: Settings) -> None:
        # It listens, which a pooler may not pass on.
        self._database_url = settings.direct_database
        # An application of its own, without a result backend: with one, sending blocks while the broker is away.
        self._publisher = Celery("watcher-relay", set_as_current=False)
        self._publisher.conf.update(broker_configuration(settings))
        self._pacer = Pacer(settings.broker)
        self._configured_limits = configured_limits(settings)
        self._alarm = _Alarm()
        self._holds_back = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Say that a message was committed; returns at once."""
        self._alarm.ring()

    def stop(self) -> None:
        """Finish the batch at hand and end the thread."""
        self._stopping.set()
        self._alarm.ring()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)
        if self._thread.is_alive():
            return  # It waits for a database or broker that does not answer, and ends with the process.
        self._publisher.close()
        self._pacer.close()
        self._alarm.close()

    def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                self._publish_while_connected()
            except Exception as error:  # noqa: BLE001 - the relay outlives whatever the broker and the database do
                logger.warning("The outbox waits: %s: %s", type(error).__name__, away_text(error))
                # Behind a name or a proxy another server may be the primary now, while the old one keeps this
                # connection and answers READONLY for ever. kombu's producer drops its own connection.
                self._pacer.close()
                self._stopping.wait(pause)
                pause = min(2 * pause, 5.0)
            else:
                pause = _PAUSE_SECONDS

    def _connect(self) -> psycopg.Connection[Any]:
        parameters = connect_parameters(self._database_url, application_name="watcher relay")
        connection = psycopg.connect(**parameters, autocommit=True)
        tell_session(connection, _SESSION_SETTINGS)
        return connection

    def _publish_while_connected(self) -> None:
        with self._connect() as connection, self._publisher.producer_pool.acquire(block=True) as producer:
            connection.add_notify_handler(lambda _: self._alarm.ring())
            connection.execute(f"LISTEN {WAKE_CHANNEL}")
            while not self._stopping.is_set():
                seconds = self.publish_due(connection, producer)
                if seconds > 0 and self._alarm.wait(connection, seconds):
                    # A batch fills meanwhile.
                    self._stopping.wait(_CROWDED_SECONDS if self._holds_back else 0.05)

    def publish_due(self, connection: psycopg.Connection[Any], producer: Any) -> float:
        """Send the due messages that may go now; the seconds until the next look, 0 when more are due already."""
        waiting = find_due(connection)
        if not any(kind.due for kind in waiting):
            self._holds_back = False
            return min(self.look_seconds, next_look(waiting, {}))
        limits = limits_in_force(connection, self._configured_limits)
        room = {kind.name: room_for(kind, limits.get(kind.name)) for kind in waiting}
        allowed, pauses = self._take_tokens(room, limits)
        self._holds_back = bool(pauses)
        sent = publish(connection, self._publisher, producer, allowed) if allowed else {}
        self._return_tokens(allowed, sent, limits)
        left = [kind for kind in waiting if kind.due > sent.get(kind.name, kind.due) and kind.name not in pauses]
        if left:
            # When nothing was sent, another relay holds all that is due. When the broker is full, the place of each
            # task that a worker takes is not worth a look of its own.
            at_once = any(kind.in_flight + room[kind.name] < _most_in_flight(limits.get(kind.name)) for kind in left)
            return 0.0 if at_once and any(sent.values()) else _FULL_SECONDS
        return min([self.look_seconds, next_look(waiting, room), *pauses.values()])

    def _take_tokens(
        self, room: Mapping[str, int], limits: Mapping[str, float | None]
    ) -> tuple[dict[str, int], dict[str, float]]:
        """How many of each task may go now, and for those that may not all go, the seconds until the next may."""
        demands = {name: Demand(number, rate) for name, number in room.items() if number and (rate := limits.get(name))}
        grants = self._pacer.take(demands)
        allowed = {name: grants[name].granted if name in grants else number for name, number in room.items()}
        pauses = {name: grant.wait_seconds for name, grant in grants.items() if grant.granted < room[name]}
        return {name: number for name, number in allowed.items() if number}, pauses

    def _return_tokens(
        self, allowed: Mapping[str, int], sent: Mapping[str, int], limits: Mapping[str, float | None]
    ) -> None:
        """Give back the tokens of messages that another relay has sent with tokens of its own."""
        for name, number in allowed.items():
            if (rate := limits.get(name)) and sent[name] < number:
                self._pacer.give_back(name, number - sent[name], rate)


class _Alarm:
    """Wakes a sleeping relay: by a call from this process, or a notification from the database."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def ring(self) -> None:
        try:
            os.write(self._writing, b"!")
        except BlockingIOError:
            return  # It rings already.

    def wait(self, connection: psycopg.Connection[Any], seconds: float) -> bool:
        """Sleep for this long, or until it rings; whether it rang."""
        with selectors.DefaultSelector() as selector:
            for source in (self._reading, connection.fileno()):
                selector.register(source, selectors.EVENT_READ)
            ready = selector.select(seconds)
        # A notification is read, and rings, with the next statement.
        try:
            return bool(os.read(self._reading, 65536) or ready)
        except BlockingIOError:
            return bool(ready)

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


def room_for(kind: Due, per_second: float | None) -> int:
    """How many of a task to send at most.

    Of a limited task no more than a quarter of a second's worth may wait in the broker. Workers that had fallen behind
    would run more than that at once.
    """
    at_once = 1 if kind.name == COALESCED_TASK else BATCH
    return max(0, min(kind.due, at_once, _most_in_flight(per_second) - kind.in_flight))


def _most_in_flight(per_second: float | None) -> int:
    return MOST_IN_FLIGHT if per_second is None else max(1, int(per_second / 4))


def next_look(waiting: Sequence[Due], room: Mapping[str, int]) -> float:
    """Seconds until a message falls due, or the broker may have room for due ones; infinite when none waits."""
    moments = [max(0.0, kind.next_seconds) for kind in waiting if kind.next_seconds is not None]
    full = [_FULL_SECONDS for kind in waiting if kind.due and not room.get(kind.name)]
    return min([*moments, *full], default=math.inf)
