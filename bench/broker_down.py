"""POST /end_pipeline_execution while the broker is up, stopped (kill -STOP) and dead (kill -9), at a moderate load.

Two api processes and a worker, with the documented limits. The 99th percentile without a broker is to stay within 1.5
times that with one. The states take turns, so that what else the machine does hits each of them.
"""

import argparse
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from bench.engines import empty_tables, engines, watcher_api, watcher_worker
from bench.load import measure_cycles, milliseconds_of
from tests.support.live import free_port
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.embedded.valkey import EmbeddedValkey

PIPELINES = 100
PROCESSES = 2
# What connections that wait for the broker notice it by is a time-out of a few seconds.
NOTICE_SECONDS = 3.0


@contextmanager
def _up(_broker: EmbeddedValkey) -> Iterator[None]:
    yield


@contextmanager
def _stopped(broker: EmbeddedValkey) -> Iterator[None]:
    os.kill(broker.pid or 0, signal.SIGSTOP)
    try:
        time.sleep(NOTICE_SECONDS)
        yield
    finally:
        os.kill(broker.pid or 0, signal.SIGCONT)


@contextmanager
def _dead(broker: EmbeddedValkey) -> Iterator[None]:
    os.kill(broker.pid or 0, signal.SIGKILL)
    try:
        yield
    finally:
        broker.stop()
        broker.start()


STATES = {"up": _up, "stopped": _stopped, "dead": _dead}


def _measure(services: EmbeddedServices, arguments: argparse.Namespace) -> tuple[dict[str, list[float]], int]:
    """The seconds that each end took, by the state of the broker, and how many requests failed."""
    broker = next(engine for engine in services.engines if isinstance(engine, EmbeddedValkey))
    ends: dict[str, list[float]] = {state: [] for state in STATES}
    errors, port = 0, free_port()
    with watcher_api(port, services.home, processes=PROCESSES) as pid, watcher_worker(services.home, concurrency=2):
        for _ in range(arguments.rounds):
            for state, enter in STATES.items():
                with enter(broker):
                    measured = measure_cycles(
                        port,
                        pid,
                        connections=arguments.connections,
                        seconds=arguments.seconds,
                        pipelines=PIPELINES,
                        pace=arguments.pace,
                    )
                ends[state] += measured.end_latencies
                errors += measured.errors
                # The relays have found the broker again before the next state is measured.
                time.sleep(NOTICE_SECONDS)
    return ends, errors


def _report(console: Console, ends: dict[str, list[float]], errors: int, arguments: argparse.Namespace) -> None:
    title = f"POST /end_pipeline_execution, {arguments.connections} connections, {arguments.pace} cycles/s"
    table = Table("broker", "requests", "p50 ms", "p99 ms", "p99 by that of up", "max ms", title=title)
    normal = milliseconds_of(ends["up"], 0.99)
    for state, seconds in ends.items():
        p99 = milliseconds_of(seconds, 0.99)
        times = [
            f"{milliseconds_of(seconds, 0.5):.2f}",
            f"{p99:.2f}",
            f"{p99 / normal:.2f}",
            f"{1000 * max(seconds):.0f}",
        ]
        table.add_row(state, f"{len(seconds):,}", *times)
    console.print(table, f"Requests that failed: {errors}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench broker-down`` takes."""
    parser.add_argument("--seconds", type=int, default=10, help="how long each measurement takes (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each state is measured (default 3)")
    parser.add_argument("--connections", type=int, default=16, help="cycles at once, at most (default 16)")
    parser.add_argument("--pace", type=float, default=300, help="cycles per second (default 300)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        empty_tables(services.database_url, pipelines=PIPELINES, judged=True)
        ends, errors = _measure(services, arguments)
        _report(console, ends, errors, arguments)
