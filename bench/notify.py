"""What it would cost to wake the relays by NOTIFY in the end of an execution, instead of in process: by pgbench."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

import psycopg
from rich.console import Console
from rich.table import Table

from bench.engines import empty_tables, engines
from bench.pgbench import measure_pgbench
from watcher_server.embedded.account import engine_account
from watcher_server.embedded.binaries import postgres_binaries
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.tasking.wire import WAKE_CHANNEL

PIPELINES = 100
# The relays of two api processes and of one worker.
LISTENERS = 3


@contextmanager
def _listeners(database_url: str, number: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(number):
            connection = stack.enter_context(psycopg.connect(database_url, autocommit=True))
            connection.execute(f"LISTEN {WAKE_CHANNEL}")
        yield


def _measure(services: EmbeddedServices, connections: int, seconds: int, *, notify: bool) -> float:
    empty_tables(services.database_url, pipelines=PIPELINES, judged=True)
    with _listeners(services.database_url, LISTENERS if notify else 0):
        return measure_pgbench(
            postgres_binaries(services.home, engine_account()),
            services.database_url,
            services.home,
            connections=connections,
            seconds=seconds,
            pipelines=PIPELINES,
            notify=notify,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench notify`` takes."""
    parser.add_argument("--seconds", type=int, default=5, help="how long each measurement takes (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="how often; the median is shown (default 3)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64], help="at once (default 1 16 64)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    title = f"Start + end cycles per second by pgbench, {LISTENERS} sessions listening"
    table = Table("connections", "without NOTIFY", "with NOTIFY in the end", "of that", title=title)
    with engines() as services:
        for connections in arguments.connections:
            found: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(arguments.rounds):
                for notify, rates in found.items():
                    rates.append(_measure(services, connections, arguments.seconds, notify=notify))
            without, with_it = median(found[False]), median(found[True])
            table.add_row(str(connections), f"{without:,.0f}", f"{with_it:,.0f}", f"{with_it / without:.0%}")
    console.print(table)
