"""Turns of each URL in one api process: a flood of one URL takes one connection to the database and no more."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST_REMEMBERED = 10_000


class TooFastError(Exception):
    """A URL is pinged faster than it may be.

    Args:
        seconds: after how many seconds the next ping is taken.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many pings: try again in {max(1, math.ceil(seconds))} s")
        self.seconds = max(1, math.ceil(seconds))


class Turns:
    """Lets the pings of one URL go one by one, and remembers what the database said of those that are too fast."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._closed_until: dict[str, float] = {}

    def check(self, address: str) -> None:
        """Pass if the URL may be pinged as far as this process knows. Raises TooFastError: it may not yet."""
        until = self._closed_until.get(address)
        if until is None:
            return
        left = until - time.monotonic()
        if left > 0:
            raise TooFastError(left)
        del self._closed_until[address]

    def close(self, address: str, seconds: float) -> None:
        """Remember that the URL is pinged too fast, for ``seconds`` seconds."""
        if len(self._closed_until) >= MOST_REMEMBERED:
            # A dict keeps its order: the first one is the oldest.
            del self._closed_until[next(iter(self._closed_until))]
        self._closed_until[address] = time.monotonic() + seconds

    @asynccontextmanager
    async def take(self, address: str) -> AsyncIterator[None]:
        """Wait for the pings of this URL that came before."""
        lock = self._locks.setdefault(address, asyncio.Lock())
        self._waiting[address] = self._waiting.get(address, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address], self._locks[address]
