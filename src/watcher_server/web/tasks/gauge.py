"""What waits in the queues; requests at the same time share one measurement."""

import asyncio
import math
import time
from contextlib import suppress

from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.settings import Settings
from watcher_server.tasking.queues.depths import QueueState, measure_queues_async

# A measurement is used again for this long, and shown for this long when a new one does not come.
_FRESH_SECONDS = 1.0
_SHOWN_SECONDS = 30.0


class QueueGauge:
    """Measures database and broker on request, at most once at a time and once a second.

    While the broker does not answer, one thread waits for it, and all requests wait for that thread.
    """

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._last: QueueState | None = None
        self._taken_at = -math.inf
        self._running: asyncio.Task[QueueState] | None = None

    async def read(self, patience_seconds: float) -> QueueState | None:
        """The queues as they are; when measuring takes longer than that, as they were up to half a minute ago, or None.

        Raises:
            sqlalchemy.exc.DBAPIError: the database does not answer.
        """
        if time.monotonic() - self._taken_at < _FRESH_SECONDS:
            return self._last
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._measure())
            # It may fail when no caller waits any more. The next caller starts the next one.
            self._running.add_done_callback(lambda done: done.cancelled() or done.exception())
        running = self._running
        await asyncio.wait({running}, timeout=patience_seconds)
        if running.done():
            return running.result()
        return self._last if time.monotonic() - self._taken_at < _SHOWN_SECONDS else None

    async def close(self) -> None:
        """Wait for no measurement any more."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._running

    async def _measure(self) -> QueueState:
        self._last = await measure_queues_async(self._engine, self._settings)
        self._taken_at = time.monotonic()
        return self._last
