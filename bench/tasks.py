"""Tasks per second of detect_anomalies_task: six rules, 1,000 executions of history, no limit, one worker.

From the first start to the last finish, as the task history has them. The worker's own relay feeds it from an outbox
that was filled before it started.
"""

import argparse
import os
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from bench.engines import cpu_seconds, empty_broker, empty_tables, engines, machine_seconds, settle, watcher_worker
from bench.scale import judge, judging
from tests.support.live import wait_until
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.tasking.wire import WAKE_CHANNEL

TASK = "detect_anomalies_task"
PIPELINES = 100
LONGEST_SECONDS = 300
JUDGED = 220

_METRICS = "{duration_seconds,inserts,updates,soft_deletes,total_rows,throughput}"

_ADD_RULES = """
INSERT INTO anomaly_detection_rule (pipeline_id, metric_field)
SELECT pipeline.id, metric FROM pipeline CROSS JOIN unnest(%s::text[]) AS metric
"""

# Runs of all pipelines take turns, as they do in life, so that the runs of one lie on many pages. The history spreads
# over the lookback of 30 days; what is judged ends after all of it, and none of it before another.
_ADD_RUNS = """
WITH run AS (
    SELECT number, pipeline.id AS pipeline_id,
        %(first)s::timestamptz + number * %(apart)s::interval AS ended,
        300 + (random() * 60)::bigint AS seconds, 10000 + (random() * 1000)::bigint AS written
    FROM generate_series(0, %(runs)s) AS number CROSS JOIN pipeline
    ORDER BY number, pipeline.id
)
INSERT INTO pipeline_execution (pipeline_id, start_date, end_date, date_recorded, hour_recorded, duration_seconds,
    completed_successfully, inserts, updates, soft_deletes, total_rows, throughput)
SELECT pipeline_id, ended - make_interval(secs => seconds), ended, ended::date, 2, seconds,
    true, written, 100 + written %% 7, written %% 5, written + 100, round((written + 100)::numeric / seconds, 4)
FROM run
"""

_FILL_OUTBOX = """
INSERT INTO outbox (task_name, kwargs)
SELECT %s, jsonb_build_object('pipeline_id', pipeline_id, 'pipeline_execution_id', id)
FROM pipeline_execution WHERE end_date = (SELECT max(end_date) FROM pipeline_execution) ORDER BY id
"""

_JUDGED = """
SELECT pipeline_id, id AS execution_id
FROM pipeline_execution ORDER BY id DESC LIMIT :number
"""

_UNDONE = """
SELECT EXISTS (SELECT FROM outbox WHERE task_name = %(task)s)
    OR EXISTS (SELECT FROM task WHERE name = %(task)s AND state IN ('PENDING', 'PROGRESS', 'RETRY'))
"""

_SUMMARY = """
SELECT count(*), extract(epoch FROM max(finished_at) - min(started_at))::float8,
    1000 * avg(extract(epoch FROM finished_at - started_at))::float8
FROM task WHERE name = %s AND state = 'SUCCESS'
"""


class Spent(NamedTuple):
    """CPU seconds so far, by who took them, and the milliseconds that the database ran statements.

    ``machine`` is what all processes took together, those that have nothing to do with it included.
    """

    worker: float
    pool: float
    database: float
    broker: float
    machine: float
    statements: float


def _fill(services: EmbeddedServices, *, tasks: int, history: int) -> None:
    """The pipelines, their rules, their history and the runs to be judged."""
    empty_tables(services.database_url, pipelines=PIPELINES)
    empty_broker(services.broker_url)
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(_ADD_RULES, [_METRICS])
        last = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)
        apart = timedelta(days=29) / history
        connection.execute(_ADD_RUNS, {"first": last - history * apart, "apart": apart, "runs": history - 1})
        connection.execute(_ADD_RUNS, {"first": last, "apart": timedelta(0), "runs": tasks // PIPELINES - 1})
        settle(connection)


def _spent(services: EmbeddedServices, worker: int, connection: psycopg.Connection[Any]) -> Spent:
    pids = {engine.name: engine.pid for engine in services.engines}
    row = connection.execute("SELECT active_time FROM pg_stat_database WHERE datname = current_database()").fetchone()
    main = cpu_seconds(worker, children=False)
    return Spent(
        main,
        cpu_seconds(worker) - main,
        cpu_seconds(pids["PostgreSQL"] or 0),
        cpu_seconds(pids["Valkey"] or 0),
        machine_seconds(),
        row[0] if row else 0.0,
    )


def _judge(database_url: str) -> float:
    """The milliseconds that the statements of one judgement take, once the connection has met them."""
    engine = judging(database_url)
    with engine.connect() as connection:
        runs = [(row.pipeline_id, row.execution_id) for row in connection.execute(text(_JUDGED), {"number": JUDGED})]
        milliseconds = judge(connection, runs).median
    engine.dispose()
    return milliseconds


def _all_done(connection: psycopg.Connection[Any]) -> bool:
    return connection.execute(_UNDONE, {"task": TASK}).fetchone() == (False,)


def _run_tasks(services: EmbeddedServices, concurrency: int) -> tuple[Spent, list[Any]]:
    """What was spent on all of the tasks, and the summary of their history."""
    with (
        psycopg.connect(services.database_url, autocommit=True) as connection,
        watcher_worker(services.home, concurrency=concurrency, WATCHER_DETECT_ANOMALIES_RATE_LIMIT="none") as worker,
    ):
        before = _spent(services, worker, connection)
        filled = connection.execute(_FILL_OUTBOX, [TASK]).rowcount
        connection.execute(sql.SQL("NOTIFY {}").format(sql.Identifier(WAKE_CHANNEL)))
        wait_until(lambda: _all_done(connection), f"the end of {filled} tasks", LONGEST_SECONDS)
        after = _spent(services, worker, connection)
        row = connection.execute(_SUMMARY, [TASK]).fetchone()
    assert row is not None
    assert row[0] == filled, f"Of {filled} tasks only {row[0]} succeeded"
    return Spent(*(end - begin for begin, end in zip(before, after, strict=True))), list(row)


def _report(console: Console, spent: Spent, summary: list[Any], concurrency: int, judgement: float) -> None:
    count, seconds, running = summary
    table = Table("", "", title=f"{count:,} {TASK}, six rules, one worker of {concurrency} processes, no limit")
    table.add_row("tasks per second", f"{count / seconds:,.0f}")
    table.add_row("a process has one task every", f"{1000 * concurrency * seconds / count:.2f} ms")
    table.add_row("of that from start to finish, as the history has it", f"{running:.2f} ms")
    table.add_row("statements of the judgement, by itself", f"{judgement:.2f} ms")
    table.add_row("statements per task, all of them", f"{spent.statements / count:.2f} ms")
    ours = dict(zip(("worker's main process", "pool", "PostgreSQL", "Valkey"), spent, strict=False))
    for name, value in [*ours.items(), ("all of these", sum(ours.values()))]:
        table.add_row(f"CPU per task: {name}", f"{1000 * value / count:.2f} ms")
    others = max(0.0, spent.machine - sum(ours.values())) / (os.cpu_count() or 1) / seconds
    table.add_row("of the machine taken by others", f"{others:.0%}")
    console.print(table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench tasks`` takes."""
    parser.add_argument("--tasks", type=int, default=3_000, help="how many (default 3000)")
    parser.add_argument("--history", type=int, default=1_000, help="executions to judge each by (default 1000)")
    parser.add_argument("--concurrency", type=int, default=2, help="processes of the worker (default 2)")
    parser.add_argument("--rounds", type=int, default=1, help="how often (default 1)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        for _ in range(arguments.rounds):
            _fill(services, tasks=arguments.tasks, history=arguments.history)
            spent, summary = _run_tasks(services, arguments.concurrency)
            _report(console, spent, summary, arguments.concurrency, _judge(services.database_url))
