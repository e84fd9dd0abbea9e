"""What starts and ends of executions feel of a cleanup that deletes months of history beside them."""

import argparse
import multiprocessing
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, create_engine, event

from bench.engines import empty_tables, engines, settle, watcher_api
from bench.history import fill_executions
from bench.load import Measured, measure_cycles, milliseconds_of
from tests.support.live import free_port
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.retention.schemas import CleanupRequest
from watcher_server.retention.service import clean_up

PIPELINES = 200
DAYS = 365
RETENTION_DAYS = 90
CONNECTIONS = 8
PROCESSES = 1
SAMPLE_SECONDS = 0.02
FINISH_SECONDS = 600
AIM_MILLISECONDS = 100

# Every fifth run is the child of the one before it, every twentieth was late, every hundredth anomalous.
_HANG_ON = (
    "UPDATE pipeline_execution SET parent_id = id - 1 WHERE id % 5 = 0",
    """
    INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth)
    SELECT parent_id, id, 1 FROM pipeline_execution WHERE parent_id IS NOT NULL
    """,
    """
    INSERT INTO timeliness_pipeline_execution_log
        (pipeline_execution_id, pipeline_id, execution_status, timely_number, timely_datepart, used_child_config,
        evaluated_at)
    SELECT id, pipeline_id, 'completed', 1, 'hour', true, start_date FROM pipeline_execution WHERE id % 20 = 0
    """,
    """
    INSERT INTO anomaly_detection_rule (pipeline_id, metric_field)
    SELECT id, 'total_rows' FROM pipeline ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO anomaly_detection_result
        (rule_id, pipeline_execution_id, metric_field, violation_value, z_score, historical_mean, historical_std,
        z_threshold, lower_bound, upper_bound, execution_count, context, detected_at)
    SELECT rule.id, run.id, 'total_rows', 0, 9, 1000, 10, 3, 970, 1030, 100, '{}', run.start_date
    FROM pipeline_execution AS run JOIN anomaly_detection_rule AS rule USING (pipeline_id) WHERE run.id % 100 = 0
    """,
    """
    INSERT INTO freshness_pipeline_log
        (pipeline_id, last_dml_timestamp, evaluated_at, freshness_number, freshness_datepart, used_child_config)
    SELECT pipeline_id, start_date, start_date, 1, 'day', true FROM pipeline_execution WHERE id % 100 = 0
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO alert (dedupe_key, level, title, message, created_at)
    SELECT 'bench:' || id, 'WARNING', 'Anomaly Detected', 'bench', start_date
    FROM pipeline_execution WHERE id % 100 = 0
    """,
)

# How many wait for a lock that the cleanup holds.
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass
class Cleaned:
    """What a cleanup did, and how long each of its transactions was open (seconds)."""

    counts: dict[str, int]
    seconds: float
    transactions: list[float]
    lock_waits_sampled: int
    samples: int


@dataclass
class _Clock:
    """How long transactions are open, from the first statement to the commit."""

    durations: list[float] = field(default_factory=list)
    _began: dict[int, float] = field(default_factory=dict)

    def begin(self, connection: Connection) -> None:
        self._began[id(connection.connection.dbapi_connection)] = time.perf_counter()

    def end(self, connection: Connection) -> None:
        self.durations.append(time.perf_counter() - self._began[id(connection.connection.dbapi_connection)])


def _clean(database_url: str, batch_size: int, answer: "multiprocessing.Queue[Cleaned]") -> None:
    """The cleanup as a worker's process would do it, and beside it a thread that counts sessions waiting for locks."""
    engine = create_engine(sqlalchemy_url(database_url))
    clock = _Clock()
    event.listen(engine, "begin", clock.begin)
    event.listen(engine, "commit", clock.end)
    event.listen(engine, "rollback", clock.end)
    stopping, waits = threading.Event(), [0, 0]
    sampling = threading.Thread(target=_sample, args=(database_url, stopping, waits), daemon=True)
    sampling.start()
    began = time.perf_counter()
    done = clean_up(engine, CleanupRequest(retention_days=RETENTION_DAYS, batch_size=batch_size))
    seconds = time.perf_counter() - began
    stopping.set()
    sampling.join()
    # The longest is the one that holds the advisory lock around all others, and no other.
    answer.put(Cleaned(done.counts, seconds, sorted(clock.durations)[:-1], waits[0], waits[1]))


def _sample(database_url: str, stopping: threading.Event, waits: list[int]) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        while not stopping.wait(SAMPLE_SECONDS):
            found = connection.execute(_WAITING).fetchone()
            assert found
            waits[0] += found[0]
            waits[1] += 1


def _fill(database_url: str, executions: int) -> None:
    empty_tables(database_url, pipelines=PIPELINES)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE alert, freshness_pipeline_log, anomaly_event CASCADE")
        fill_executions(database_url, pipelines=PIPELINES, executions=executions, days=DAYS)
        for statement in _HANG_ON:
            connection.execute(statement)
        settle(connection)


def _starts(measured: Measured) -> list[float]:
    return [whole - end for whole, end in zip(measured.latencies, measured.end_latencies, strict=True)]


def _row(name: str, measured: Measured) -> list[str]:
    row = [name, f"{measured.cycles_per_second:,.0f}"]
    for seconds in (_starts(measured), measured.end_latencies):
        row += [f"{milliseconds_of(seconds, share):.1f}" for share in (0.5, 0.99)]
        row.append(f"{1000 * max(seconds):.1f}")
    return [*row, str(measured.errors)]


def _print_cleanup(console: Console, cleaned: Cleaned) -> None:
    counts: dict[str, Any] = cleaned.counts
    executions = counts["total_pipeline_executions_deleted"]
    longest = 1000 * cleaned.transactions[-1]
    console.print(
        f"Deleted {executions:,} executions and {sum(counts.values()) - executions:,} other rows in"
        f" {cleaned.seconds:.1f} s ({executions / cleaned.seconds:,.0f} executions/s) in"
        f" {len(cleaned.transactions):,} transactions: p50 {milliseconds_of(cleaned.transactions, 0.5):.1f} ms,"
        f" p99 {milliseconds_of(cleaned.transactions, 0.99):.1f} ms, longest {longest:.1f} ms."
    )
    console.print(
        f"Waiting for a lock: {cleaned.lock_waits_sampled} sessions in {cleaned.samples:,} looks, one every"
        f" {1000 * SAMPLE_SECONDS:.0f} ms."
    )


def _measure(services: EmbeddedServices, console: Console, arguments: argparse.Namespace) -> None:
    _fill(services.database_url, arguments.executions)
    port = free_port()
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[Cleaned] = context.Queue()
    cleaning = context.Process(target=_clean, args=(services.database_url, arguments.batch_size, answer), daemon=True)

    def load(pid: int) -> Measured:
        return measure_cycles(
            port, pid, connections=CONNECTIONS, seconds=arguments.seconds, pipelines=PIPELINES, pace=arguments.pace
        )

    with watcher_api(port, services.home, processes=PROCESSES) as pid:
        before = load(pid)
        cleaning.start()
        during = load(pid)
        assert cleaning.is_alive(), "The cleanup was over before the measurement: take more executions."
        cleaned = answer.get(timeout=FINISH_SECONDS)
        cleaning.join()
    columns = ("", "cycles/s", "start p50", "p99", "max ms", "end p50", "p99", "max ms", "errors")
    table = Table(
        *columns, title=f"Starts and ends, {arguments.executions:,} executions, {RETENTION_DAYS} of {DAYS} days kept"
    )
    table.add_row(*_row("without a cleanup", before))
    table.add_row(*_row("during the cleanup", during))
    console.print(table)
    added = 1000 * max(
        max(_starts(during)) - max(_starts(before)), max(during.end_latencies) - max(before.end_latencies)
    )
    console.print(f"Added to the longest wait: {added:.1f} ms (aim: below {AIM_MILLISECONDS}).")
    _print_cleanup(console, cleaned)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench retention`` takes."""
    parser.add_argument("--executions", type=int, default=400_000, help="in the table, over a year (default 400000)")
    parser.add_argument("--batch-size", type=int, default=10_000, help="of the cleanup (default 10000)")
    parser.add_argument("--seconds", type=int, default=8, help="how long starts and ends are measured (default 8)")
    parser.add_argument("--pace", type=float, default=100, help="start+end cycles per second (default 100)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        _measure(services, console, arguments)
