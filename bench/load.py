"""A load generator for start+end cycles: raw HTTP/1.1 on keep-alive connections, cheap enough to share the cores."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

import psutil
import uvloop

WARM_UP_SECONDS = 2.0
ACCEPT_SECONDS = 0.01


@dataclass
class Measured:
    """What one run of the load saw."""

    connections: int
    seconds: float
    cycles: int
    errors: int
    cpu_seconds: float
    latencies: list[float] = field(repr=False)
    end_latencies: list[float] = field(repr=False)

    @property
    def cycles_per_second(self) -> float:
        return self.cycles / self.seconds

    @property
    def cpu_milliseconds_per_cycle(self) -> float:
        return 1000 * self.cpu_seconds / max(self.cycles, 1)

    def latency_milliseconds(self, share: float) -> float:
        """The time of a whole cycle that this share of the cycles stayed below."""
        return milliseconds_of(self.latencies, share)


def milliseconds_of(seconds: Sequence[float], share: float) -> float:
    """What this share of them stays below."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


def _request(path: str, body: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


class _Cycle(asyncio.Protocol):
    """One connection: a start, its end, and again, at once or at an interval in seconds."""

    def __init__(
        self, pipelines: int, results: Measured, numbers: "itertools.count[int]", every: float, fail_every: int
    ) -> None:
        self._pipelines = pipelines
        self._fail_every = fail_every
        self._every = every
        self._results = results
        self._numbers = numbers
        self._buffer = b""
        self._ending = False
        now = datetime.now(UTC)
        self._start_date = now.isoformat()
        self._end_date = (now + timedelta(seconds=42)).isoformat()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._start()

    def _start(self) -> None:
        if self._transport.is_closing():
            return
        number = self._number = next(self._numbers)
        self._began = time.perf_counter()
        self._ending = False
        body = (
            f'{{"pipeline_id": {number % self._pipelines + 1}, "start_date": "{self._start_date}",'
            f' "next_watermark": "{number}"}}'
        )
        self._transport.write(_request("/start_pipeline_execution", body))

    def _end(self, execution_id: int) -> None:
        self._ending = True
        self._end_began = time.perf_counter()
        fails = self._fail_every and self._number % self._fail_every == 0
        body = (
            f'{{"id": {execution_id}, "end_date": "{self._end_date}",'
            f' "completed_successfully": {"false" if fails else "true"},'
            f' "inserts": 1000, "updates": 10, "total_rows": 1010}}'
        )
        self._transport.write(_request("/end_pipeline_execution", body))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        _, found, length = head.lower().partition(b"content-length:")
        if found and len(body) < int(length.partition(b"\r\n")[0]):
            return
        self._buffer = b""
        self._answered(head[9:12], body)

    def _answered(self, status: bytes, body: bytes) -> None:
        if not self._ending and status == b"201":
            self._end(int(body.partition(b":")[2].rstrip(b"}")))
            return
        if self._ending and status == b"204":
            self._results.cycles += 1
            now = time.perf_counter()
            self._results.latencies.append(now - self._began)
            self._results.end_latencies.append(now - self._end_began)
        else:
            self._results.errors += 1
        self._start_when_due()

    def _start_when_due(self) -> None:
        pause = self._began + self._every - time.perf_counter()
        if pause > 0:
            asyncio.get_running_loop().call_later(pause, self._start)
        else:
            self._start()


def _cpu_seconds(root: psutil.Process) -> float:
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


async def _run(
    port: int, server_pid: int, *, connections: int, seconds: float, pipelines: int, pace: float | None, fail_every: int
) -> Measured:
    loop = asyncio.get_running_loop()
    results = Measured(connections, seconds, 0, 0, 0.0, [], [])
    every = connections / pace if pace else 0.0
    numbers, host = itertools.count(), "127.0.0.1"
    server = psutil.Process(server_pid)
    opened = []
    for _ in range(connections):
        opened.append(
            await loop.create_connection(lambda: _Cycle(pipelines, results, numbers, every, fail_every), host, port)
        )
        # All at once, they would be accepted by whichever api process woke first.
        await asyncio.sleep(ACCEPT_SECONDS)
    await asyncio.sleep(WARM_UP_SECONDS)
    results.cycles = 0
    results.latencies.clear()
    results.end_latencies.clear()
    cpu, began = _cpu_seconds(server), time.perf_counter()
    await asyncio.sleep(seconds)
    measured = Measured(
        connections,
        time.perf_counter() - began,
        results.cycles,
        results.errors,
        _cpu_seconds(server) - cpu,
        list(results.latencies),
        list(results.end_latencies),
    )
    for transport, _ in opened:
        transport.abort()
    return measured


def measure_cycles(
    port: int,
    server_pid: int,
    *,
    connections: int,
    seconds: float,
    pipelines: int,
    pace: float | None = None,
    fail_every: int = 0,
) -> Measured:
    """Run start+end cycles against the server for ``seconds``, after a warm-up.

    Args:
        port: where the server listens on 127.0.0.1.
        server_pid: its process; the CPU time is that of it and all its children.
        connections: how many cycles run at once.
        seconds: how long to measure.
        pipelines: the cycles are spread over the pipelines 1 to this.
        pace: cycles per second of all connections together; None is as fast as they are answered.
        fail_every: one cycle of this number ends as a failure; with 0 none does.
    """
    run = _run(
        port,
        server_pid,
        connections=connections,
        seconds=seconds,
        pipelines=pipelines,
        pace=pace,
        fail_every=fail_every,
    )
    return uvloop.run(run)
