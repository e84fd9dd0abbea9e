"""The relay: publishes the outbox to Celery, at least once, from every api process."""

import logging
import threading
from typing import Any

import psycopg
from celery import Celery

from watcher_server.queueing.configuration import broker_configuration
from watcher_server.settings import Settings

logger = logging.getLogger(__name__)

_BATCH_SIZE = 200
# Rows written by workers, or by an api process that died, are found by looking.
_POLL_SECONDS = 0.5
# Waiting this long after a wake-up lets a busy moment fill a batch.
_GATHER_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_STOP_SECONDS = 10.0

# Oldest first, by the primary key. Two relays never wait for each other: each takes what the other does not hold.
_TAKE_BATCH = """
DELETE FROM outbox
WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED))
RETURNING id, task_id::text, task_name, kwargs, queue
"""
# The table is empty whenever the planner's statistics are made, and full of deleted rows when it is busy: left to
# itself, the planner would read it all to find the oldest.
_SESSION_OPTIONS = "-c enable_seqscan=off -c enable_sort=off"


class Relay:
    """A thread that takes messages from the outbox and sends them to the broker.

    A batch is deleted in the transaction in which it is sent: should the process die in between, another relay sends
    it again under the same task ids. A broker that is away leaves the messages where they are.
    """

    def __init__(self, settings: Settings) -> None:
        self._database_url = settings.database
        # An application of its own, without a result backend: with one, sending blocks while the broker is away.
        self._publisher = Celery("watcher-relay", set_as_current=False)
        self._publisher.conf.update(broker_configuration(settings))
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def wake(self) -> None:
        """Say that a message was committed; returns at once."""
        self._awake.set()

    def stop(self) -> None:
        """Finish the batch at hand and end the thread."""
        self._stopping.set()
        self._awake.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)
        self._publisher.close()

    def _run(self) -> None:
        pause = _POLL_SECONDS
        while not self._stopping.is_set():
            try:
                self._publish_while_connected()
            except Exception as error:  # noqa: BLE001 - the relay outlives whatever the broker and the database do
                logger.warning("The outbox waits: %s: %s", type(error).__name__, error)
                self._stopping.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                pause = _POLL_SECONDS

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._database_url,
            autocommit=True,
            connect_timeout=10,
            application_name="watcher relay",
            options=_SESSION_OPTIONS,
        )

    def _publish_while_connected(self) -> None:
        with (
            self._connect() as connection,
            self._publisher.producer_pool.acquire(block=True) as producer,
        ):
            while not self._stopping.is_set():
                if publish_batch(connection, self._publisher, producer) < _BATCH_SIZE:
                    self._awake.wait(_POLL_SECONDS)
                    self._awake.clear()
                    self._stopping.wait(_GATHER_SECONDS)


def publish_batch(connection: psycopg.Connection[Any], publisher: Celery, producer: Any) -> int:
    """Send up to one batch of the oldest messages, in order; how many.

    The broker gets all of them in one round trip, before the transaction commits.
    """
    with connection.transaction(), producer.batch():
        messages = connection.execute(_TAKE_BATCH, [_BATCH_SIZE]).fetchall()
        for _, task_id, task_name, kwargs, queue in sorted(messages):
            publisher.send_task(
                task_name,
                kwargs=kwargs,
                task_id=task_id,
                queue=queue,
                producer=producer,
                retry=False,
                # A list in the broker needs no declaration, and its name is all the routing there is.
                declare=(),
                # Celery's own way of writing these down takes a fifth of the time of sending.
                argsrepr="()",
                kwargsrepr=repr(kwargs),
            )
    return len(messages)
