"""What waits in the queues, measured once for everybody who looks at the same time."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.queue_monitor.depths import QueueState, measure_queues_async
from watcher_server.settings import Settings

# Younger than this, a measurement is good for whoever asks next; older than that, it is not worth showing.
_FRESH_SECONDS = 1.0
_SHOWN_SECONDS = 30.0


@dataclass(frozen=True)
class _Measurement:
    state: QueueState
    taken_at: float

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.taken_at


class QueueGauge:
    """Measures database and broker when somebody asks, at most once at a time and once a second.

    However many look while the broker does not answer, one thread waits for it.
    """

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._last: _Measurement | None = None
        self._running: asyncio.Task[_Measurement] | None = None

    async def read(self, patience_seconds: float) -> QueueState | None:
        """The queues as they are; when measuring takes longer than that, as they were up to half a minute ago, or None.

        Raises:
            sqlalchemy.exc.DBAPIError: the database does not answer.
        """
        if self._last is not None and self._last.age_seconds < _FRESH_SECONDS:
            return self._last.state
        running = self._start()
        await asyncio.wait({running}, timeout=patience_seconds)
        if running.done():
            return running.result().state
        is_shown = self._last is not None and self._last.age_seconds < _SHOWN_SECONDS
        return self._last.state if self._last is not None and is_shown else None

    async def close(self) -> None:
        """Wait for no measurement any more."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._running

    def _start(self) -> "asyncio.Task[_Measurement]":
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._measure())
            # Nobody may be waiting any more when it fails; who asks next is told by the next one.
            self._running.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._running

    async def _measure(self) -> _Measurement:
        state = await measure_queues_async(self._engine, self._settings)
        self._last = _Measurement(state, time.monotonic())
        return self._last
