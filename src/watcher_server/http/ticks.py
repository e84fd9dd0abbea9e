"""How a server of uvicorn waits for its end: it is told. By itself it looks ten times a second.

Its ticks also renew the Date header. Here that is made for the answer that bears it.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import uvicorn

# Whatever else than a signal or `should_exit` might end a server is found by looking.
_LOOK_SECONDS = 5.0
_WAKE = "watcher_wake"


class _ShouldExit:
    """``should_exit`` of uvicorn's servers: whoever sets it, a signal or another thread, wakes the server."""

    def __get__(self, server: Any, _owner: object = None) -> bool:
        return bool(server.__dict__.get("should_exit"))

    def __set__(self, server: Any, value: bool) -> None:
        server.__dict__["should_exit"] = value
        wake: Callable[[], None] | None = server.__dict__.get(_WAKE)
        if wake is not None:
            # The loop may have been closed a moment ago.
            with suppress(RuntimeError):
                wake()


async def _main_loop(server: uvicorn.Server) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    server.__dict__[_WAKE] = lambda: loop.call_soon_threadsafe(told.set)
    try:
        # The first tick of ten is the one that makes the headers of every answer.
        while not await server.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), _LOOK_SECONDS)
    finally:
        del server.__dict__[_WAKE]


def wait_to_be_told() -> None:
    """Have every server of uvicorn in this process, and in its forks, end when it is told, without looking."""
    # uvicorn has no setting for either.
    uvicorn.Server.should_exit = _ShouldExit()  # type: ignore[assignment]
    uvicorn.Server.main_loop = _main_loop  # type: ignore[method-assign,assignment]


def headers_now(config: uvicorn.Config) -> list[tuple[bytes, bytes]]:
    """The headers of every answer of a server, with the date of this second."""
    return _headers_of(config, int(time.time()))


@lru_cache(maxsize=4)
def _headers_of(config: uvicorn.Config, second: int) -> list[tuple[bytes, bytes]]:
    return [(b"date", formatdate(second, usegmt=True).encode()), *config.encoded_headers]
