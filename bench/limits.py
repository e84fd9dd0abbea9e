"""Rate limits of the whole cluster: how many tasks of a saturated queue start, and how soon another kind's start.

Of each documented task 10,000 are sent by ``.delay()`` to 1, 2 and 4 workers of two processes. Its limit is to hold
within 10 % over 30 seconds, and a task of an idle or of an unlimited kind is to start within 2 seconds meanwhile.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, NamedTuple

import psycopg
from rich.console import Console
from rich.table import Table

from bench.engines import empty_broker, empty_tables, engines, watcher_worker
from tests.support.live import wait_until
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.settings import get_settings
from watcher_server.tasking.limits.service import configured_limits

CONCURRENCY = 2
PROBES = 5
SETTLE_SECONDS = 3
UNLIMITED = "celery_queue_health_check_task"

# What each is sent with: things that do not exist, and no two alike, for rebuilds of the same closure are done as one.
_ARGUMENTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "detect_anomalies_task": lambda number: {"pipeline_id": 1, "pipeline_execution_id": number},
    "freshness_check_task": lambda _: {},
    "timeliness_check_task": lambda _: {"lookback_minutes": 60},
    "address_lineage_closure_rebuild_task": lambda number: {"connected_addresses": [number], "pipeline_id": number},
    "pipeline_execution_closure_maintain_task": lambda number: {"execution_id": number},
}

# Both by ix_task_name_created_at. The most in any second is the most in a second that begins with a start.
_STARTED = """
WITH started AS (
    SELECT started_at FROM task
    WHERE name = %(task)s AND started_at BETWEEN %(since)s AND %(since)s::timestamptz + %(window)s
), following AS (
    SELECT count(*) OVER (ORDER BY started_at
            RANGE BETWEEN CURRENT ROW AND interval '999999 microseconds' FOLLOWING) AS in_second,
        count(*) OVER (ORDER BY started_at
            RANGE BETWEEN CURRENT ROW AND interval '100 milliseconds' FOLLOWING) AS at_once
    FROM started
)
SELECT count(*), max(in_second), max(at_once) FROM following
"""

_WAITED = """
SELECT count(started_at), max(extract(epoch FROM started_at - created_at))::float8
FROM task WHERE name = %s AND created_at >= %s
"""

_WAITING = "SELECT count(*) FROM outbox WHERE task_name = %s"


class Held(NamedTuple):
    """How a limit held: starts per second, the most in any second and in any tenth, and how many waited at the end.

    The seconds are the longest that a task of an idle kind, and one of an unlimited kind, waited for its start.
    """

    rate: float
    in_second: int
    at_once: int
    waiting: int
    idle_seconds: float
    unlimited_seconds: float


def _send(task: str, numbers: range) -> None:
    # PLC0415: the tasks read the settings when they are imported.
    from watcher_server import celery_tasks  # noqa: F401, PLC0415 - read once the engines are named in the environment
    from watcher_server.celery_app import app  # noqa: PLC0415 - as above

    arguments = _ARGUMENTS.get(task)
    for number in numbers:
        app.tasks[task].delay(**(arguments(number) if arguments else {}))


def _measure(connection: psycopg.Connection[Any], task: str, queued: int, seconds: int) -> Held:
    idle = "timeliness_check_task" if task == "freshness_check_task" else "freshness_check_task"
    _send(task, range(1, queued + 1))
    time.sleep(SETTLE_SECONDS)
    since = _one(connection, "SELECT clock_timestamp()")
    for _ in range(PROBES):
        _send(idle, range(1))
        _send(UNLIMITED, range(1))
        time.sleep(seconds / PROBES)
    window = {"task": task, "since": since, "window": timedelta(seconds=seconds)}
    row = connection.execute(_STARTED, window).fetchone()
    assert row is not None
    waiting = _one(connection, _WAITING, task)
    for kind in (idle, UNLIMITED):
        wait_until(lambda: _one(connection, _WAITED, kind, since) >= PROBES, f"the start of {kind}")  # noqa: B023 - called now
    waited = [connection.execute(_WAITED, [kind, since]).fetchone() for kind in (idle, UNLIMITED)]
    return Held(row[0] / seconds, row[1], row[2], waiting, *(found[1] if found else 0.0 for found in waited))


def _one(connection: psycopg.Connection[Any], statement: str, *values: Any) -> Any:
    row = connection.execute(statement, values).fetchone()
    return None if row is None else row[0]


def _row(workers: int, task: str, limit: float, held: Held) -> list[str]:
    return [
        str(workers),
        task,
        f"{limit:g}",
        f"{held.rate:.2f}",
        f"{held.rate / limit - 1:+.1%}",
        str(held.in_second),
        str(held.at_once),
        f"{held.waiting:,}",
        f"{held.idle_seconds:.2f}",
        f"{held.unlimited_seconds:.2f}",
    ]


def _run_with(
    services: EmbeddedServices, workers: int, arguments: argparse.Namespace, console: Console, table: Table
) -> None:
    limits = configured_limits(get_settings())
    for task in arguments.tasks:
        limit = limits[task]
        assert limit is not None, f"{task} has no limit"
        empty_tables(services.database_url, pipelines=1)
        empty_broker(services.broker_url)
        with ExitStack() as stack:
            for _ in range(workers):
                stack.enter_context(watcher_worker(services.home, concurrency=CONCURRENCY))
            with psycopg.connect(services.database_url, autocommit=True) as connection:
                held = _measure(connection, task, arguments.queued, arguments.seconds)
        console.print(f"{workers} workers, {task}: {held.rate:.2f} per second")
        table.add_row(*_row(workers, task, limit, held))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench limits`` takes."""
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="how many (default 1 2 4)")
    parser.add_argument("--tasks", nargs="+", choices=_ARGUMENTS, default=list(_ARGUMENTS), help="which (default all)")
    parser.add_argument("--queued", type=int, default=10_000, help="how many are sent of each (default 10000)")
    parser.add_argument("--seconds", type=int, default=30, help="how long each measurement takes (default 30)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    columns = ("workers", "task", "limit/s", "started/s", "off by", "most in 1 s", "in 0.1 s", "still waiting")
    title = f"Starts over {arguments.seconds} s, and the longest wait in seconds of {PROBES} tasks of other kinds"
    table = Table(*columns, "idle kind", "unlimited", title=title)
    with engines() as services:
        for workers in arguments.workers:
            _run_with(services, workers, arguments, console, table)
    console.print(table)
