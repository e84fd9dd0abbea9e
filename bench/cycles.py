"""Start+end cycles per second, beside what the machine could do at most."""

import argparse
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from rich.console import Console
from rich.table import Table

from bench.engines import empty_broker, empty_tables, engines, listens, watcher_api
from bench.load import Measured, measure_cycles
from bench.pgbench import measure_pgbench
from tests.support.live import free_port, wait_until
from watcher_server.embedded.account import engine_account
from watcher_server.embedded.binaries import postgres_binaries
from watcher_server.embedded.services import EmbeddedServices

PIPELINES = 100
PROCESSES = 2
FINISH_SECONDS = 0.05


@contextmanager
def serve_bare(application: str, port: int) -> Iterator[int]:
    """A handler of ``bench.bare`` on the port, in as many processes as Watcher's api; its process id."""
    command = [
        *(sys.executable, "-m", "uvicorn", application, "--port", str(port), "--workers", str(PROCESSES)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: listens(port), application)
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def _unlimited(port: int, services: EmbeddedServices) -> Iterator[int]:
    """An api whose relay publishes everything, for tasks count as done at once; workers would take the processors."""
    stopping = threading.Event()

    def finish() -> None:
        with psycopg.connect(services.database_url, autocommit=True) as connection:
            while not stopping.wait(FINISH_SECONDS):
                connection.execute("UPDATE task SET state = 'SUCCESS', finished_at = now() WHERE state = 'PENDING'")

    finishing = threading.Thread(target=finish, daemon=True)
    finishing.start()
    try:
        limit = {"WATCHER_DETECT_ANOMALIES_RATE_LIMIT": "none"}
        with watcher_api(port, services.home, processes=PROCESSES, **limit) as pid:
            yield pid
    finally:
        stopping.set()
        finishing.join()


def _measure(server: str, services: EmbeddedServices, connections: int, seconds: int) -> Measured:
    empty_tables(services.database_url, pipelines=PIPELINES, judged=True)
    empty_broker(services.broker_url)
    port = free_port()
    if server == "watcher":
        context = watcher_api(port, services.home, processes=PROCESSES)
    elif server == "unlimited":
        context = _unlimited(port, services)
    else:
        context = serve_bare(f"bench.bare:{server}", port)
    with context as pid:
        return measure_cycles(port, pid, connections=connections, seconds=seconds, pipelines=PIPELINES)


def _pgbench(services: EmbeddedServices, connections: int, seconds: int) -> float:
    empty_tables(services.database_url, pipelines=PIPELINES, judged=True)
    return measure_pgbench(
        postgres_binaries(services.home, engine_account()),
        services.database_url,
        services.home,
        connections=connections,
        seconds=seconds,
        pipelines=PIPELINES,
    )


def _row(name: str, measured: Measured, watcher: Measured | None = None) -> list[str]:
    return [
        name,
        f"{measured.cycles_per_second:,.0f}",
        f"{measured.cpu_milliseconds_per_cycle:.2f}",
        f"{measured.latency_milliseconds(0.5):.1f}",
        f"{measured.latency_milliseconds(0.99):.1f}",
        f"{watcher.cycles_per_second / measured.cycles_per_second:.0%}" if watcher else "",
        str(measured.errors),
    ]


def _report(services: EmbeddedServices, console: Console, connections: int, arguments: argparse.Namespace) -> None:
    seconds: int = arguments.seconds
    watcher = _measure("watcher", services, connections, seconds)
    columns = ("", "cycles/s", "CPU ms/cycle", "p50 ms", "p99 ms", "Watcher reaches", "errors")
    table = Table(*columns, title=f"Start + end cycles, {connections} connections, {PROCESSES} api processes")
    table.add_row(*_row("Watcher: api and relay, documented limits", watcher))
    unlimited = _measure("unlimited", services, connections, seconds)
    table.add_row(*_row("Watcher without limits, all is published", unlimited))
    if not arguments.only_watcher:
        bare = _measure("bare", services, connections, seconds)
        table.add_row(*_row("bare handler, same statements", bare, watcher))
        empty = _measure("empty", services, connections, seconds)
        table.add_row(*_row("empty handler, same server", empty, watcher))
        database = _pgbench(services, connections, seconds)
        ratio = f"{watcher.cycles_per_second / database:.0%}"
        table.add_row("pgbench, same statements", f"{database:,.0f}", "", "", "", ratio, "")
    console.print(table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench cycles`` takes."""
    parser.add_argument("--seconds", type=int, default=8, help="how long each measurement takes (default 8)")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64], help="cycles at once (default 16 64)")
    parser.add_argument("--only-watcher", action="store_true", help="leave out what it is compared with")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        for connections in arguments.connections:
            _report(services, console, connections, arguments)
