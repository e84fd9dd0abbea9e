"""A load generator for any requests: raw HTTP/1.1 on keep-alive connections, cheap enough to share the cores."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import psutil
import uvloop

from bench.load import ACCEPT_SECONDS, WARM_UP_SECONDS, milliseconds_of

# From the number of the cycle and the answer to the step before to the bytes of a request.
Step = Callable[[int, bytes], bytes]
# What a client expects: every request of these scenarios is answered by one of them.
_FINE = frozenset({b"200", b"201", b"204"})


@dataclass
class Asked:
    """What one run of the load saw; CPU in seconds, that of the server and its children and that of the database."""

    seconds: float = 0.0
    requests: int = 0
    errors: int = 0
    api_cpu: float = 0.0
    database_cpu: float = 0.0
    latencies: list[float] = field(default_factory=list, repr=False)

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


class Turns(list[Asked]):
    """What the load saw in several runs of one kind."""

    @property
    def per_second(self) -> float:
        """Requests per second: the median of the runs."""
        return statistics.median(asked.per_second for asked in self)

    @property
    def api_milliseconds(self) -> float:
        """The server's CPU for each request."""
        return 1000 * sum(asked.api_cpu for asked in self) / max(self._requests, 1)

    @property
    def database_milliseconds(self) -> float:
        """The database's CPU for each request."""
        return 1000 * sum(asked.database_cpu for asked in self) / max(self._requests, 1)

    @property
    def errors(self) -> int:
        """How many requests had another answer than was expected."""
        return sum(asked.errors for asked in self)

    @property
    def _requests(self) -> int:
        return sum(asked.requests for asked in self)

    def latency_milliseconds(self, share: float) -> float:
        """The time of a request that this share of all requests stayed below."""
        return milliseconds_of([seconds for asked in self for seconds in asked.latencies], share)


def request(method: str, path: str, body: str = "") -> bytes:
    """The bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + "\r\n" + body).encode()


class _Connection(asyncio.Protocol):
    """One connection: the steps of a cycle one after the other, and again."""

    def __init__(self, steps: Sequence[Step], asked: Asked, numbers: "itertools.count[int]") -> None:
        self._steps, self._asked, self._numbers = steps, asked, numbers
        self._buffer, self._place, self._number = b"", 0, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._begin()

    def _begin(self) -> None:
        self._place, self._number = 0, next(self._numbers)
        self._send(b"")

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._began = time.perf_counter()
            self._transport.write(self._steps[self._place](self._number, answer))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        _, found, length = head.lower().partition(b"content-length:")
        if found and len(body) < int(length.partition(b"\r\n")[0]):
            return
        self._buffer = b""
        if head[9:12] not in _FINE:
            self._asked.errors += 1
            self._begin()
            return
        self._asked.requests += 1
        self._asked.latencies.append(time.perf_counter() - self._began)
        self._place += 1
        if self._place == len(self._steps):
            self._begin()
        else:
            self._send(body)


def _cpu_seconds(root: psutil.Process) -> float:
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


async def _run(
    port: int, pids: tuple[int, int], steps: Sequence[Step], *, connections: int, seconds: float, warm_up: float
) -> Asked:
    loop, numbers, asked = asyncio.get_running_loop(), itertools.count(), Asked()
    api, database = map(psutil.Process, pids)
    opened = []
    for _ in range(connections):
        opened.append(await loop.create_connection(lambda: _Connection(steps, asked, numbers), "127.0.0.1", port))
        # All at once, they would be accepted by whichever api process woke first.
        await asyncio.sleep(ACCEPT_SECONDS)
    await asyncio.sleep(warm_up)
    asked.requests = 0
    asked.latencies.clear()
    before, began = (_cpu_seconds(api), _cpu_seconds(database)), time.perf_counter()
    await asyncio.sleep(seconds)
    measured = Asked(
        time.perf_counter() - began,
        asked.requests,
        asked.errors,
        _cpu_seconds(api) - before[0],
        _cpu_seconds(database) - before[1],
        list(asked.latencies),
    )
    for transport, _ in opened:
        transport.abort()
    return measured


def ask(
    port: int,
    steps: Sequence[Step],
    *,
    api_pid: int,
    database_pid: int,
    connections: int,
    seconds: float,
    warm_up: float = WARM_UP_SECONDS,
) -> Asked:
    """Send the steps of a cycle again and again for ``seconds``, after a warm-up.

    Args:
        port: where the server listens on 127.0.0.1.
        steps: the requests of a cycle.
        api_pid: the server; its children count too.
        database_pid: PostgreSQL's first process; its children count too.
        connections: how many cycles run at once.
        seconds: how long to measure.
        warm_up: for how many seconds requests are sent before that.
    """
    run = _run(port, (api_pid, database_pid), steps, connections=connections, seconds=seconds, warm_up=warm_up)
    return uvloop.run(run)
