"""Pings per second, beside what the same server could do at most."""

import argparse
import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import psutil
import psycopg
import uvloop
from rich.console import Console
from rich.table import Table

from bench.cycles import PROCESSES, serve_bare
from bench.engines import cpu_seconds, empty_broker, empty_tables, engines, watcher_api
from bench.load import ACCEPT_SECONDS, WARM_UP_SECONDS, milliseconds_of
from tests.support.live import free_port
from watcher_server.embedded.services import EmbeddedServices

# Each URL may be pinged five times a second.
PIPELINES = 4_000
KINDS = {"an end alone": ("",), "a start and its end": ("/start", "/0")}
AIM = 1_500


@dataclass
class Measured:
    """What one run of the load saw; ``refused`` counts answers of no success."""

    seconds: float = 0.0
    pings: int = 0
    refused: int = 0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


class _Pinger(asyncio.Protocol):
    """One connection: all that is to be sent to one URL, then to the next, each as soon as it is answered."""

    def __init__(self, urls: "itertools.cycle[str]", suffixes: Sequence[str], results: Measured) -> None:
        self._urls = urls
        self._suffixes = suffixes
        self._results = results
        self._pending: list[str] = []
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ping()

    def _ping(self) -> None:
        if self._transport.is_closing():
            return
        if not self._pending:
            url = next(self._urls)
            self._pending = [f"{url}{suffix}" for suffix in self._suffixes]
        self._began = time.perf_counter()
        self._transport.write(f"GET {self._pending.pop(0)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._received += data
        # The head and the body may come apart.
        head, separator, body = self._received.partition(b"\r\n\r\n")
        _, found, length = head.lower().partition(b"content-length:")
        if not separator or (found and len(body) < int(length.partition(b"\r\n")[0])):
            return
        data, self._received = self._received, b""
        if data[9:10] == b"2":
            self._results.pings += 1
            self._results.latencies.append(time.perf_counter() - self._began)
        else:
            self._results.refused += 1
        self._ping()


async def _load(
    port: int, pid: int, *, urls: Sequence[str], suffixes: Sequence[str], connections: int, seconds: int
) -> Measured:
    loop, results, each = asyncio.get_running_loop(), Measured(), itertools.cycle(urls)
    opened = []
    for _ in range(connections):
        opened.append(await loop.create_connection(lambda: _Pinger(each, suffixes, results), "127.0.0.1", port))
        await asyncio.sleep(ACCEPT_SECONDS)
    await asyncio.sleep(WARM_UP_SECONDS)
    results.pings = results.refused = 0
    results.latencies.clear()
    spent, began = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(seconds)
    measured = Measured(
        time.perf_counter() - began,
        results.pings,
        results.refused,
        cpu_seconds(pid) - spent,
        list(results.latencies),
    )
    for transport, _ in opened:
        transport.abort()
    return measured


def _measure(
    server: str, services: EmbeddedServices, suffixes: Sequence[str], arguments: argparse.Namespace
) -> Measured:
    empty_tables(services.database_url, pipelines=PIPELINES, judged=True)
    empty_broker(services.broker_url)
    with psycopg.connect(services.database_url) as connection:
        urls = [f"/ping/{row[0]}" for row in connection.execute("SELECT ping_uuid FROM pipeline ORDER BY id")]
    port = free_port()
    if server == "watcher":
        context = watcher_api(port, services.home, processes=PROCESSES)
    else:
        context = serve_bare(f"bench.bare:{server}", port)
    with context as pid:
        run = {"connections": arguments.connections, "seconds": arguments.seconds}
        return uvloop.run(_load(port, pid, urls=urls, suffixes=suffixes, **run))


def _row(name: str, measured: Measured) -> list[str]:
    return [
        name,
        f"{measured.pings / measured.seconds:,.0f}",
        f"{1000 * measured.cpu_seconds / max(measured.pings, 1):.2f}",
        f"{milliseconds_of(measured.latencies, 0.5):.1f}",
        f"{milliseconds_of(measured.latencies, 0.99):.1f}",
        str(measured.refused),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench pings`` takes."""
    parser.add_argument("--seconds", type=int, default=8, help="how long each measurement takes (default 8)")
    parser.add_argument("--connections", type=int, default=16, help="pings at once (default 16)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        for kind, suffixes in KINDS.items():
            title = f"Pings, {kind}: {arguments.connections} connections, {PROCESSES} api processes, aim {AIM:,}/s"
            table = Table("", "pings/s", "CPU ms/ping", "p50 ms", "p99 ms", "refused", title=title)
            for name, server in {
                "Watcher: api and relay": "watcher",
                "bare handler, same statement": "bare_pings",
                "empty handler, same server": "empty",
            }.items():
                table.add_row(*_row(name, _measure(server, services, suffixes, arguments)))
            load = psutil.getloadavg()
            console.print(table, f"Load of the machine in the last minute: {load[0]:.1f}.")
