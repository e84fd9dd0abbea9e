"""Growing and shrinking the pool of a worker by what waits in its queues."""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import redis
from celery.worker import state
from celery.worker.autoscale import Autoscaler
from kombu.transport.redis import PRIORITY_STEPS, Channel

from watcher_server.queueing.broker import redis_client

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
# After the broker did not answer: asking blocks the worker, for up to two seconds.
_LOOK_AGAIN_SECONDS = 5.0
# Starting a process holds the worker up for some milliseconds, and Celery's pool takes more than a hundred new
# processes within a second for a crash.
_MOST_NEW_PROCESSES = 8


class QueueDepthAutoscaler(Autoscaler):
    """Keeps as many processes as there are tasks to run: those under way and those ready in the broker.

    Celery's own looks at the tasks that the worker has taken from the broker, and takes as many as the largest pool
    could run, away from other workers. Here a worker takes one task per process that it has: the prefetch count
    follows the size of the pool.

    It grows within a second, by at most eight processes at a time. When for ``keepalive`` seconds (30, or the
    environment's ``AUTOSCALE_KEEPALIVE``) fewer would have done, half of the surplus goes, and so on.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience = self.keepalive
        # How often the worker's event loop calls.
        self.keepalive = _LOOK_SECONDS
        self._next_look = 0.0
        self._last_needed = time.monotonic()
        # The consumer, which is made after this, reads it to know how many messages it may hold.
        self.worker.max_concurrency = max(1, self.min_concurrency)

    def update(self, max: int | None = None, min: int | None = None) -> tuple[int, int]:  # noqa: A002 - Celery's signature
        """Other bounds from now on, as ``app.control.autoscale`` sends them; the pool follows at the next look."""
        self.max_concurrency = self.max_concurrency if max is None else max
        self.min_concurrency = self.min_concurrency if min is None else min
        return self.max_concurrency, self.min_concurrency

    @property
    def qty(self) -> int:
        """The tasks that the worker holds to run them now."""
        # Once it has connected anew, those that run on are active alone.
        return len({*state.reserved_requests, *state.active_requests})

    def _maybe_scale(self, req: Any = None) -> bool:
        """Whether the pool's size changed. Called for every message and every second."""
        now = time.monotonic()
        if now < self._next_look or _is_stopping():
            return False
        self._next_look = now + _LOOK_SECONDS
        wanted = self._wanted_processes()
        if wanted is None:
            self._next_look = time.monotonic() + _LOOK_AGAIN_SECONDS
            return False
        return self._resize(min(self.max_concurrency, max(self.min_concurrency, wanted)), now)

    def _wanted_processes(self) -> int | None:
        """One per task that is under way or ready; None while the broker does not answer."""
        app = self.worker.app
        try:
            return self.qty + count_ready(app.conf.broker_url, list(app.amqp.queues.consume_from))
        except (redis.RedisError, OSError) as error:
            logger.warning("The pool keeps its size, because the broker does not answer: %s", error)
            return None

    def _resize(self, wanted: int, now: float) -> bool:
        surplus: int = self.processes - wanted
        if surplus <= 0:
            self._last_needed = now
            if surplus < 0:
                self._grow(min(-surplus, _MOST_NEW_PROCESSES))
            return surplus < 0
        is_soon = now - self._last_needed < self._patience and self.processes <= self.max_concurrency
        # A task that is on its way to a process would die with it: such a one is reserved, and not active yet.
        if is_soon or self.qty > len(state.active_requests):
            return False
        self._last_needed = now
        self._shrink(math.ceil(surplus / 2))
        return True

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


def _is_stopping() -> bool:
    # Celery goes on calling while the pool finishes its tasks, and from another thread. The flags are exit statuses: 0
    # is one, and False is none.
    return any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate))


def count_ready(broker_url: str, queues: Sequence[str]) -> int:
    """The messages that wait in these queues of the broker, of all priorities; one round trip.

    Raises:
        redis.RedisError: the broker does not answer within two seconds.
    """
    with redis_client(broker_url) as client, client.pipeline(transaction=False) as pipeline:
        for queue in queues:
            for priority in PRIORITY_STEPS:
                pipeline.llen(f"{queue}{Channel.sep}{priority}" if priority else queue)
        return sum(pipeline.execute())
