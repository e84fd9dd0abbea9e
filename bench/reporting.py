"""How long a report of a month takes over a long history: all of it counted, then with its days summed."""

import argparse
import statistics
import time
from dataclasses import dataclass

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from bench.engines import engines, settle, watcher_api
from bench.history import fill_executions
from tests.support.live import free_port
from watcher_server.reporting.tasks import daily_metrics_task
from watcher_server.settings import get_settings

AIM_MILLISECONDS = 100
_METRICS = "/reporting/daily-pipeline-metrics"
_REQUESTS = {
    "month, first page": _METRICS,
    "month, page 20 of 50 rows": f"{_METRICS}?page=20",
    "month, 1,000 rows": f"{_METRICS}?page_size=1000",
    "month of one pipeline": f"{_METRICS}?pipeline_name=history+7",
    "month, name contains 77": f"{_METRICS}?pipeline_name=77",
    "month of one type": f"{_METRICS}?pipeline_type_name=history:+hour",
    "today": f"{_METRICS}?days=1",
    "page /reporting": "/reporting",
    "names of all pipelines": "/reporting/pipeline-names",
}
# The days of pipelines that a backfill leaves noted until the next sum.
_CHANGED = 1_000
_CHANGE = """
INSERT INTO daily_pipeline_metric_change
SELECT date_recorded, pipeline_id FROM daily_pipeline_metric ORDER BY md5(pipeline_id::text || date_recorded) LIMIT %s
"""


@dataclass(frozen=True)
class Timed:
    """Latencies in milliseconds, the longest last."""

    milliseconds: list[float]

    def quantile(self, share: float) -> float:
        """The latency that this share of the requests did not exceed."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(len(self.milliseconds) * share))]


def _time(client: httpx.Client, path: str, requests: int) -> Timed:
    client.get(path).raise_for_status()
    found = []
    for _ in range(requests):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        found.append(1_000 * (time.perf_counter() - began))
    return Timed(sorted(found))


def _table(client: httpx.Client, title: str, requests: int) -> Table:
    table = Table("", "p50 ms", "p95 ms", f"aim: p95 < {AIM_MILLISECONDS} ms", title=title)
    for name, path in _REQUESTS.items():
        timed = _time(client, path, requests)
        p95 = timed.quantile(0.95)
        median = statistics.median(timed.milliseconds)
        table.add_row(name, f"{median:.1f}", f"{p95:.1f}", "reached" if p95 < AIM_MILLISECONDS else "missed")
    return table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench reporting`` takes."""
    parser.add_argument("--executions", type=int, default=300_000, help="how many (default 300000; the aim: 10000000)")
    parser.add_argument("--pipelines", type=int, default=1_000, help="number of pipelines (default 1000)")
    parser.add_argument("--days", type=int, default=365, help="number of days (default 365)")
    parser.add_argument("--requests", type=int, default=100, help="of each kind (default 100)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    requests: int = arguments.requests
    with engines() as services:
        get_settings.cache_clear()
        began = time.perf_counter()
        pipelines, executions, days = arguments.pipelines, arguments.executions, arguments.days
        fill_executions(services.database_url, pipelines=pipelines, executions=executions, days=days)
        console.print(
            f"{executions:,} executions of {pipelines:,} pipelines in {days} days,"
            f" written in {time.perf_counter() - began:.0f} s"
        )
        port = free_port()
        limits = {"WATCHER_RELAY_ENABLED": "false"}
        url = f"http://127.0.0.1:{port}"
        with watcher_api(port, services.home, processes=1, **limits), httpx.Client(base_url=url, timeout=60) as client:
            console.print(_table(client, "Nothing summed: every figure from the executions", max(10, requests // 5)))
            _sum(console, "First sum")
            _settle(services.database_url)
            console.print(_table(client, "Days that are over summed", requests))
            with psycopg.connect(services.database_url, autocommit=True) as connection:
                connection.execute(_CHANGE, [_CHANGED])
            console.print(_table(client, f"{_CHANGED:,} days of pipelines changed since", requests))
            _sum(console, "Sum of the changes")


def _sum(console: Console, name: str) -> None:
    began = time.perf_counter()
    done = daily_metrics_task()
    console.print(f"{name}: {done} in {time.perf_counter() - began:.2f} s")


def _settle(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        settle(connection)
