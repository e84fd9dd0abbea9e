"""The inbox as one api process fills it: events are stored, and a task that applies them is called for."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Final, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from watcher_server.database.ingest_pool import IngestPool
from watcher_server.database.statements import numbered
from watcher_server.http.state import Relay
from watcher_server.openlineage.bodies import Accepted
from watcher_server.openlineage.tasks import APPLY_TASK
from watcher_server.settings import Settings
from watcher_server.tasking.wire import SCHEDULED_QUEUE

logger = logging.getLogger(__name__)

_STORE_ONE = numbered("""
INSERT INTO openlineage_event (lane, body) VALUES (%(lane)s::text, %(body)s::bytea) RETURNING id
""")
_STORE_MANY = numbered("""
WITH stored AS (
    INSERT INTO openlineage_event (lane, body)
    SELECT lane, body FROM unnest(%(lanes)s::text[], %(bodies)s::bytea[]) WITH ORDINALITY AS sent (lane, body, place)
    ORDER BY place
    RETURNING id
)
SELECT count(*) FROM stored
""")
# By ix_openlineage_event_waiting.
_IS_FULL = numbered("""
SELECT count(*) > %(most)s::bigint
FROM (SELECT FROM openlineage_event WHERE applied_at IS NULL LIMIT %(most)s::bigint + 1) AS waiting
""")
# A task that has not begun yet finds what is stored now; a second one would only wait behind it. By the primary key of
# the outbox and ix_task_under_way.
_CALL_FOR_TASK = numbered("""
INSERT INTO outbox (task_name, kwargs, queue)
SELECT %(task)s::text, '{}'::jsonb, %(queue)s::text
WHERE NOT EXISTS (SELECT FROM outbox WHERE task_name = %(task)s::text AND due_at <= now())
    AND NOT EXISTS (SELECT FROM task WHERE name = %(task)s::text AND state = 'PENDING')
RETURNING true
""")

# A larger body is unpacked and read in a thread.
LARGE_BYTES: Final = 256 * 1024
_COUNT_SECONDS = 1.0
_CALL_SECONDS = 0.25
# Clients give up after 5 seconds; Java's do not send an event again. While the database is away all of them are to hear
# of it at once.
_PATIENT_SECONDS, _HASTY_SECONDS = 4.0, 0.75

Read = TypeVar("Read")


class InboxFullError(Exception):
    """As many events wait as WATCHER_OPENLINEAGE_MAX_WAITING allows."""


class BusyError(Exception):
    """Large bodies wait for being read, as many as the memory is meant for."""


class Receiver:
    """Stores events. What it knows of the database is what the requests before have found."""

    def __init__(self, pool: IngestPool, relay: Relay, settings: Settings) -> None:
        self._pool = pool
        self._most_waiting = settings.openlineage_max_waiting
        self._answers = False
        self._is_full = False
        self._counted_at = float("-inf")
        self._caller = _Caller(pool, relay)
        # Starts and ends use the same connections: a burst of events leaves them most of these.
        self._turns = asyncio.Semaphore(max(1, settings.ingest_pool_size * 3 // 8))
        self._reading = asyncio.Lock()
        self._most_unread = 8 * settings.max_body_bytes
        self._unread = 0

    async def store_one(self, event: Accepted) -> int:
        """Store an event; its id, once it is committed.

        Raises:
            InboxFullError: too many events wait.
            psycopg.Error: the database did not store it.
        """
        async with self._connection() as connection:
            row = await _STORE_ONE.fetch_one(connection, {"lane": event.lane, "body": event.packed})
        self._caller.call()
        return int(row[0]) if row else 0

    async def store_many(self, events: Sequence[Accepted]) -> None:
        """Store events, all of them or none; raises as :meth:`store_one` does."""
        if not events:
            return
        columns = {"lanes": [event.lane for event in events], "bodies": [event.packed for event in events]}
        async with self._connection() as connection:
            await _STORE_MANY.fetch_one(connection, columns)
        self._caller.call()

    async def read(self, size: int, read: Callable[[], Read]) -> Read:
        """What ``read`` returns, called in a thread, one body at a time; ``size`` is that of the body in bytes.

        Raises:
            BusyError: the bodies that wait for their turn take too much memory together.
        """
        if self._unread + size > self._most_unread:
            raise BusyError
        self._unread += size
        try:
            async with self._reading:
                return await asyncio.to_thread(read)
        finally:
            self._unread -= size

    async def close(self) -> None:
        """Call for no further task."""
        await self._caller.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        try:
            async with (
                # While the database is away all are to hear of it at once, and not one after the other.
                self._turns if self._answers else nullcontext(),
                self._pool.connection(_PATIENT_SECONDS if self._answers else _HASTY_SECONDS) as connection,
            ):
                await self._check_room(connection)
                yield connection
        except psycopg.OperationalError:
            self._answers = False
            raise
        self._answers = True

    async def _check_room(self, connection: AsyncConnection[TupleRow]) -> None:
        if time.monotonic() - self._counted_at > _COUNT_SECONDS:
            # At once, so that the requests that come meanwhile do not count too.
            self._counted_at = time.monotonic()
            row = await _IS_FULL.fetch_one(connection, {"most": self._most_waiting})
            self._is_full = bool(row and row[0])
        if self._is_full:
            raise InboxFullError


class _Caller:
    """Calls for the task that applies events: at once, but not again before a quarter of a second is over.

    A process that is killed meanwhile calls for none; the keeper does, within seconds.
    """

    def __init__(self, pool: IngestPool, relay: Relay) -> None:
        self._pool = pool
        self._relay = relay
        self._called_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._calling: set[asyncio.Task[None]] = set()

    def call(self) -> None:
        """Have the task run soon."""
        if self._timer is None:
            wait = max(0.0, self._called_at + _CALL_SECONDS - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait, self._begin)

    async def close(self) -> None:
        """Drop the call that waits, and let one that is being made end."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._calling)

    def _begin(self) -> None:
        # What is stored from now on needs another call, because this one may have looked before.
        self._timer, self._called_at = None, time.monotonic()
        calling = asyncio.create_task(self._insert(), name="openlineage-call")
        self._calling.add(calling)
        calling.add_done_callback(self._calling.discard)

    async def _insert(self) -> None:
        try:
            async with self._pool.connection(_PATIENT_SECONDS) as connection:
                called = await _CALL_FOR_TASK.fetch_one(connection, {"task": APPLY_TASK, "queue": SCHEDULED_QUEUE})
        except psycopg.Error as error:
            logger.warning("Events of OpenLineage wait for the keeper to have them applied: %s", type(error).__name__)
            return
        if called:
            self._relay.wake()
