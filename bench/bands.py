"""What the chart of a seasonal rule costs the api: 200 bands over three months of hourly runs, at first and again."""

import argparse
import statistics
import time

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from bench.engines import cpu_seconds, empty_tables, engines, settle, watcher_api
from tests.support.live import free_port

BANDS = 200
AIM_SECONDS = 0.4

_RULE = """
INSERT INTO anomaly_detection_rule (pipeline_id, metric_field, method, lookback_days, learning)
SELECT min(id), 'total_rows', 'seasonal', 90, false FROM pipeline
"""

# A day and a week, with noise.
_RUNS = """
INSERT INTO pipeline_execution (pipeline_id, start_date, end_date, date_recorded, hour_recorded, duration_seconds,
    completed_successfully, total_rows)
SELECT (SELECT min(id) FROM pipeline), began, began + interval '5 minutes', began::date, extract(hour FROM began), 300,
    true, (10000 + 3000 * sin(extract(hour FROM began) / 24 * 2 * pi()) - 2000 * (extract(isodow FROM began) > 5)::int
        + 500 * random_normal())::bigint
FROM generate_series(date_trunc('hour', now()) - make_interval(hours => %s), now() - interval '10 minutes', '1 hour')
    AS began
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench bands`` takes."""
    parser.add_argument("--hours", type=int, default=2_500, help="hourly runs (default 2500)")
    parser.add_argument("--again", type=int, default=10, help="how often it is asked again (default 10)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    port = free_port()
    with engines() as services:
        empty_tables(services.database_url, pipelines=1)
        with psycopg.connect(services.database_url, autocommit=True) as connection:
            connection.execute(_RULE)
            connection.execute(_RUNS, [arguments.hours])
            settle(connection)
        with (
            watcher_api(port, services.home, processes=1) as pid,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            client.get("/health/ready").raise_for_status()
            first, *again = [_ask(client, pid) for _ in range(1 + arguments.again)]
    table = Table(
        "", "CPU of the api", "answered after", "aim", title=f"{BANDS} bands, {arguments.hours:,} hourly runs"
    )
    later = tuple(statistics.median(column) for column in zip(*again, strict=True))
    for name, (cpu, seconds) in (("at first", first), ("until the next run", later)):
        verdict = "met" if cpu < AIM_SECONDS else "MISSED"
        table.add_row(name, f"{cpu:.2f} s", f"{seconds:.2f} s", f"{AIM_SECONDS} s: {verdict}")
    console.print(table)


def _ask(client: httpx.Client, pid: int) -> tuple[float, float]:
    cpu, began = cpu_seconds(pid), time.perf_counter()
    answer = client.get(f"/pipeline/1/baseline?metric=total_rows&executions={BANDS}").raise_for_status().json()
    assert all(run["upper_bound"] is not None for run in answer["executions"])
    return cpu_seconds(pid) - cpu, time.perf_counter() - began
