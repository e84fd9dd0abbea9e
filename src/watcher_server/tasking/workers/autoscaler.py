"""Growing and shrinking the pool of a worker by what waits in its queues.

The specification asks for it: "Auto-scaling: Implement automatic scaling based on queue depth". Celery's own autoscaler
goes by the messages that the worker has taken already.
"""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import redis
from celery.worker import state
from celery.worker.autoscale import Autoscaler

from watcher_server.settings import get_settings
from watcher_server.tasking.sending.broker import key_prefix, redis_client
from watcher_server.tasking.sending.broker_check import away_text
from watcher_server.tasking.wire import PRIORITY_SUFFIXES
from watcher_server.tasking.workers.stopping import is_stopping

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
# A process that was told to end takes up to two seconds to send its last spans. One that takes much longer hangs.
_ENDING_SECONDS = 10.0


class QueueDepthAutoscaler(Autoscaler):
    """Keeps as many processes as there are tasks to run: those under way and those ready in the broker.

    Celery's own takes as many messages as the largest pool could run, away from other workers. Here a worker takes one
    message per process that it has: the prefetch count follows the size of the pool.

    It grows within a second, by at most eight processes at a time. When for ``keepalive`` seconds (30, or the
    environment's ``AUTOSCALE_KEEPALIVE``) fewer would have done, half of the surplus goes, and so on.
    """

    # Celery's types know only what all kinds of pools have.
    pool: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience = self.keepalive
        # How often the worker's event loop calls.
        self.keepalive = _LOOK_SECONDS
        self._next_look = 0.0
        self._last_needed = time.monotonic()
        self._told_at = 0.0
        # The consumer is made after this, and reads how many messages it may hold.
        self.worker.max_concurrency = max(1, self.min_concurrency)

    def update(self, max: int | None = None, min: int | None = None) -> tuple[int, int]:  # noqa: A002 - Celery's signature
        """Other bounds from now on, as ``app.control.autoscale`` sends them; the pool follows at the next look."""
        self.max_concurrency = self.max_concurrency if max is None else max
        self.min_concurrency = self.min_concurrency if min is None else min
        return self.max_concurrency, self.min_concurrency

    @property
    def qty(self) -> int:
        """The tasks that the worker holds to run them now."""
        # After a reconnect the tasks that still run are in active_requests only.
        return len({*state.reserved_requests, *state.active_requests})

    def _maybe_scale(self, req: Any = None) -> bool:
        """Whether Celery has to look which processes are there. Called for every message and every second."""
        now = time.monotonic()
        # Celery calls while the pool finishes its tasks, too, and from another thread.
        if now < self._next_look or is_stopping():
            return False
        self._next_look = now + _LOOK_SECONDS
        wanted = self._wanted_processes()
        if wanted is None:
            # To ask a broker that does not answer blocks the worker for up to two seconds.
            self._next_look = time.monotonic() + 5.0
            return False
        return self._resize(min(self.max_concurrency, max(self.min_concurrency, wanted)), now)

    def _wanted_processes(self) -> int | None:
        """One per task that is under way or ready; None while the broker does not answer."""
        try:
            return self.qty + count_ready(get_settings().broker, list(self.worker.app.amqp.queues.consume_from))
        except (redis.RedisError, OSError) as error:
            logger.warning("The pool keeps its size, because the broker does not answer: %s", away_text(error))
            return None

    def _resize(self, wanted: int, now: float) -> bool:
        surplus: int = self.processes - wanted
        if surplus <= 0:
            self._last_needed = now
        if surplus < 0:
            # Starting a process takes the main loop some milliseconds, and Celery's pool mistakes more than a hundred
            # new processes within a second for a crash loop.
            self._grow(min(-surplus, 8))
            return True
        # A reserved task that is not active yet is on its way to a process, and would die with it.
        if self.qty > len(state.active_requests):
            return False
        if self._is_ending():
            self._insist(now)
            return True
        is_soon = now - self._last_needed < self._patience and self.processes <= self.max_concurrency
        if surplus == 0 or is_soon:
            return False
        self._last_needed = self._told_at = now
        self._shrink(math.ceil(surplus / 2))
        return True

    def _is_ending(self) -> bool:
        """Whether processes that were told to end are still there.

        Celery's pool would tell the same ones again and count them once more, and others would stay for good.
        """
        intended: int = self.processes
        return len(self.pool._pool._pool) > intended  # noqa: SLF001 - Celery has no other list of the processes

    def _insist(self, now: float) -> None:
        """Tell those once more, after a while: one that hangs then ends at once, and one may have missed the signal."""
        if now - self._told_at < _ENDING_SECONDS:
            return
        self._told_at = now
        for process in self.pool._pool._iterinactive():  # noqa: SLF001 - as above
            if process._controlled_termination:  # noqa: SLF001 - billiard sets it when it tells a process to end
                process.terminate()

    def _grow(self, n: int) -> None:
        before = self.processes
        super()._grow(n)  # type: ignore[misc]
        self._follow(before)

    def _shrink(self, n: int) -> None:
        before = self.processes
        super()._shrink(n)  # type: ignore[misc]
        self._follow(before)

    def _follow(self, before: int) -> None:
        """Have the worker hold as many messages as it has processes."""
        change = self.processes - before
        if change:
            self.worker.consumer._update_prefetch_count(change)  # noqa: SLF001 - as Celery's own pool commands do


def count_ready(broker_url: str, queues: Sequence[str]) -> int:
    """Messages that wait in these queues, of all priorities; raises redis.RedisError after two seconds of silence."""
    prefix = key_prefix(broker_url)
    with redis_client(broker_url) as client, client.pipeline(transaction=False) as pipeline:
        for queue in queues:
            for suffix in PRIORITY_SUFFIXES:
                pipeline.llen(prefix + queue + suffix)
        return sum(pipeline.execute())
