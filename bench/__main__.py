"""``make bench``: start+end cycles per second, beside what the machine could do at most."""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from bench.load import Measured, measure_cycles
from bench.pgbench import measure_pgbench
from tests.support.live import free_port, wait_until, watcher_process
from watcher_server.database.migrate import migrate
from watcher_server.embedded.account import engine_account
from watcher_server.embedded.binaries import postgres_binaries
from watcher_server.embedded.services import EmbeddedServices

PIPELINES = 100
PROCESSES = 2


@contextmanager
def _services() -> Iterator[EmbeddedServices]:
    home = Path(tempfile.mkdtemp(prefix="watcher-bench-"))
    home.chmod(0o755)
    try:
        with EmbeddedServices(home) as services:
            migrate(services.database_url)
            os.environ["WATCHER_HOME"] = str(home)
            os.environ["WATCHER_DATABASE_URL"] = services.database_url
            os.environ["WATCHER_BROKER_URL"] = services.broker_url
            yield services
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _empty_tables(database_url: str) -> None:
    """The same start for every measurement: no executions, a hundred pipelines."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE pipeline_type, pipeline, pipeline_execution, outbox RESTART IDENTITY CASCADE")
        connection.execute("TRUNCATE pipeline_execution_closure")
        connection.execute("INSERT INTO pipeline_type (name) VALUES ('bench')")
        connection.execute(
            "INSERT INTO pipeline (name, pipeline_type_id) SELECT 'bench ' || n, 1 FROM generate_series(1, %s) AS n",
            [PIPELINES],
        )
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


@contextmanager
def _uvicorn(application: str, port: int) -> Iterator[int]:
    command = [
        *(sys.executable, "-m", "uvicorn", application, "--port", str(port), "--workers", str(PROCESSES)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: _listens(port), application)
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def _watcher(port: int, folder: Path) -> Iterator[int]:
    environment = {"WATCHER_PORT": str(port), "WATCHER_API_PROCESSES": str(PROCESSES)}
    with watcher_process(["api"], environment, folder / "bench-api.log") as process:
        wait_until(lambda: _listens(port), "watcher api")
        yield process.pid


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _measure(server: str, services: EmbeddedServices, connections: int, seconds: int) -> Measured:
    _empty_tables(services.database_url)
    port = free_port()
    context = _watcher(port, services.home) if server == "watcher" else _uvicorn(f"bench.bare:{server}", port)
    with context as pid:
        return measure_cycles(port, pid, connections=connections, seconds=seconds, pipelines=PIPELINES)


def _pgbench(services: EmbeddedServices, connections: int, seconds: int) -> float:
    _empty_tables(services.database_url)
    return measure_pgbench(
        postgres_binaries(services.home, engine_account()),
        services.database_url,
        services.home,
        connections=connections,
        seconds=seconds,
        pipelines=PIPELINES,
    )


def _row(name: str, measured: Measured, watcher: Measured) -> list[str]:
    return [
        name,
        f"{measured.cycles_per_second:,.0f}",
        f"{measured.cpu_milliseconds_per_cycle:.2f}",
        f"{measured.latency_milliseconds(0.5):.1f}",
        f"{measured.latency_milliseconds(0.99):.1f}",
        f"{watcher.cycles_per_second / measured.cycles_per_second:.0%}",
        str(measured.errors),
    ]


def _report(services: EmbeddedServices, console: Console, connections: int, seconds: int) -> None:
    watcher = _measure("watcher", services, connections, seconds)
    bare = _measure("bare", services, connections, seconds)
    empty = _measure("empty", services, connections, seconds)
    database = _pgbench(services, connections, seconds)
    columns = ("", "cycles/s", "CPU ms/cycle", "p50 ms", "p99 ms", "Watcher reaches", "errors")
    table = Table(*columns, title=f"Start + end cycles, {connections} connections, {PROCESSES} api processes")
    table.add_row(*_row("Watcher (api and relay)", watcher, watcher))
    table.add_row(*_row("bare handler, same statements", bare, watcher))
    table.add_row(*_row("empty handler, same server", empty, watcher))
    ratio = f"{watcher.cycles_per_second / database:.0%}"
    table.add_row("pgbench, same statements", f"{database:,.0f}", "", "", "", ratio, "")
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="how long each measurement takes (default 8)")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64], help="cycles at once (default 16 64)")
    arguments = parser.parse_args()
    console = Console(width=110)
    console.print(f"{os.cpu_count()} cores, shared by the load, the api, the database and the broker.")
    with _services() as services:
        for connections in arguments.connections:
            _report(services, console, connections, arguments.seconds)


if __name__ == "__main__":
    main()
