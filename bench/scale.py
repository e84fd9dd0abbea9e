"""What a judgement, a start and an end cost the database over a small table of executions, and over a large one."""

import argparse
import asyncio
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.numeric import Int8Dumper
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine, create_engine

from bench.engines import empty_tables, engines, settle
from bench.history import fill_executions
from tests.support.statements import watched_statements
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.executions.ingest import end_execution, start_execution
from watcher_server.executions.schemas import ExecutionEnd, ExecutionStart
from watcher_server.executions.statements import END_STATEMENT, START_STATEMENT

SMALL = 10_000
AIM_MILLISECONDS, AIM_RATIO = 5, 1.5
_PIPELINES = 1_000
_DAYS = 365
_WARM_UP = 20

_ADD_JUDGED = """
WITH judged AS (
    INSERT INTO pipeline (name, pipeline_type_id)
    SELECT 'judged ' || n, (SELECT min(id) FROM pipeline_type) FROM generate_series(1, %(pipelines)s) AS n
    RETURNING id
), rule AS (
    INSERT INTO anomaly_detection_rule (pipeline_id, metric_field)
    SELECT id, metric FROM judged CROSS JOIN unnest(
        ARRAY['duration_seconds', 'inserts', 'updates', 'soft_deletes', 'total_rows', 'throughput']) AS metric
)
SELECT id FROM judged
"""

# The pipelines take turns; forty of them fill a page, so each run of one lies on a page of its own, as in life. In a
# small table there is no room for that. All runs of the last moment are judged, each by its pipeline's runs before.
_ADD_RUNS = """
WITH run AS (
    SELECT pipeline_id, %(last)s::timestamptz - (%(runs)s - number) * %(apart)s::interval AS ended,
        300 + (random() * 60)::bigint AS seconds, 10000 + (random() * 1000)::bigint AS written
    FROM generate_series(0, %(runs)s) AS number CROSS JOIN unnest(%(ids)s::bigint[]) AS pipeline_id
    ORDER BY number, pipeline_id
)
INSERT INTO pipeline_execution (pipeline_id, start_date, end_date, date_recorded, hour_recorded, duration_seconds,
    completed_successfully, inserts, updates, soft_deletes, total_rows, throughput)
SELECT pipeline_id, ended - make_interval(secs => seconds), ended, (ended AT TIME ZONE 'UTC')::date,
    extract(hour FROM ended AT TIME ZONE 'UTC'), seconds,
    true, written, 100 + written %% 7, written %% 5, written + 100, round((written + 100)::numeric / seconds, 4)
FROM run
RETURNING pipeline_id, id
"""


@dataclass
class Spent:
    """Milliseconds per call, and what the plans of its statements say of executions."""

    milliseconds: list[float] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of the calls."""
        return statistics.median(self.milliseconds)


def _scans(plan: list[str]) -> list[str]:
    """What a plan reads of the executions, how many pages in all, and how long it took."""
    found = []
    for number, line in enumerate(plan):
        if re.search(r"(Seq Scan|Index.* Scan|Bitmap).* pipeline_execution|Bitmap Index Scan", line):
            found.append(line.strip().removeprefix("-> ").strip())
            conditions = (following.strip() for following in plan[number + 1 : number + 4])
            found += [f"    {line}" for line in conditions if line.startswith("Index Cond")]
        if line.startswith("Execution Time"):
            found.append(line)
    buffers = next((line.strip() for line in plan if "Buffers:" in line), "")
    return [*found, buffers]


def _explain(connection: Connection, statements: Sequence[tuple[type[psycopg.Cursor[Any]], str, Any]]) -> list[str]:
    driver: Any = connection.connection.driver_connection
    lines = []
    for cursor, statement, parameters in statements:
        if "pipeline_execution" in statement:
            explained = cursor(driver).execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
            lines += _scans([row[0] for row in explained])
    return lines


def judge(engine: Engine, runs: Sequence[tuple[int, int]]) -> Spent:
    """Judge each run as its task would, in a transaction of its own, all on one connection.

    Like a worker's, the connection has met the statements before, and PostgreSQL may keep a plan of them.
    """
    watched = []
    with engine.connect() as connection:
        for pipeline_id, execution_id in runs:
            with watched_statements() as statements:
                detect_anomalies(connection, pipeline_id, execution_id, alert_max_age_hours=24)
                connection.commit()
            watched.append(statements)
        plan = _explain(connection, [sent[:3] for sent in watched[-1]])
        connection.rollback()
    return Spent([1_000 * sum(sent.seconds for sent in statements) for statements in watched[_WARM_UP:]], plan)


def _add_judged(database_url: str, *, pipelines: int, judgements: int, history: int) -> list[tuple[int, int]]:
    """Runs to be judged, as (pipeline, execution), each with a history of runs of its pipeline and hour."""
    # Late in an hour of yesterday; all of the history is of that hour, and of 29 days.
    last = datetime.now(UTC).replace(minute=50, second=0, microsecond=0) - timedelta(days=1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        ids = [row[0] for row in connection.execute(_ADD_JUDGED, {"pipelines": pipelines})]
        found: list[Any] = []
        per_day = -(-history // 29)
        for days_ago in range(29, 0, -1):
            runs = min(per_day, history - per_day * (29 - days_ago)) - 1
            parameters = {"last": last - timedelta(days=days_ago), "runs": runs, "apart": timedelta(seconds=30)}
            if runs >= 0:
                connection.execute(_ADD_RUNS, {**parameters, "ids": ids})
        each = _judged_each(judgements, pipelines)
        found += connection.execute(_ADD_RUNS, {"last": last, "runs": each - 1, "apart": timedelta(0), "ids": ids})
        settle(connection)
    return found


def _judged_each(judgements: int, pipelines: int) -> int:
    return -(-(judgements + _WARM_UP) // pipelines)


async def _cycle(database_url: str, pipelines: list[int], cycles: int) -> tuple[Spent, Spent]:
    """Start and end runs with the product's own functions; the answer waits for no disk."""
    starts, ends = Spent(), Spent()
    connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    async with connection:
        connection.adapters.register_dumper(int, Int8Dumper)
        await connection.execute("SET synchronous_commit = off")
        for number in range(cycles + _WARM_UP):
            began = time.perf_counter()
            body = ExecutionStart.model_validate({"pipeline_id": pipelines[number % len(pipelines)]})
            execution_id = await start_execution(connection, body)
            started = time.perf_counter()
            numbers = {"completed_successfully": True, "inserts": 1_000, "total_rows": 1_000, "next_watermark": "1"}
            await end_execution(connection, ExecutionEnd.model_validate({"id": execution_id, **numbers}))
            starts.milliseconds.append(1_000 * (started - began))
            ends.milliseconds.append(1_000 * (time.perf_counter() - started))
    del starts.milliseconds[:_WARM_UP], ends.milliseconds[:_WARM_UP]
    return starts, ends


_START = dict.fromkeys(("parent_id", "start_date", "watermark", "next_watermark", "context")) | {"backfill": False}
_END = dict.fromkeys(("updates", "soft_deletes", "execution_metadata", "context")) | {"nothing_to_do": False}


def _explain_cycle(engine: Engine, pipeline_id: int) -> tuple[list[str], list[str]]:
    with engine.connect() as connection:
        execution_id = connection.exec_driver_sql(START_STATEMENT, {**_START, "pipeline_id": pipeline_id}).scalar_one()
        start = [(psycopg.Cursor[Any], START_STATEMENT, {**_START, "pipeline_id": pipeline_id})]
        numbers = {"id": execution_id, "inserts": 1, "total_rows": 1, "completed_successfully": True}
        ended = {**_END, **numbers, "end_date": datetime.now(UTC) + timedelta(seconds=1)}
        end = [(psycopg.Cursor[Any], END_STATEMENT, ended)]
        plans = _explain(connection, start), _explain(connection, end)
        connection.rollback()
    return plans


def _measure(database_url: str, executions: int, arguments: argparse.Namespace) -> dict[str, Spent]:
    empty_tables(database_url, pipelines=0)
    judged = 8 if executions == SMALL else 40
    others = executions - judged * (arguments.history + _judged_each(arguments.judgements, judged))
    pipelines = fill_executions(database_url, pipelines=_PIPELINES, executions=max(0, others), days=_DAYS)
    history, judgements = arguments.history, arguments.judgements
    runs = _add_judged(database_url, pipelines=judged, judgements=judgements, history=history)
    engine = create_engine(sqlalchemy_url(database_url), connect_args={"options": "-c timezone=UTC"})
    judgement = judge(engine, runs)
    started, ended = asyncio.run(_cycle(database_url, pipelines, arguments.cycles))
    started.plan, ended.plan = _explain_cycle(engine, pipelines[0])
    engine.dispose()
    return {"judgement, six rules": judgement, "start": started, "end": ended}


def _report(console: Console, small: dict[str, Spent], large: dict[str, Spent], executions: int) -> None:
    table = Table("database time, p50", f"{SMALL:,} executions", f"{executions:,}", "ratio", f"aim: {AIM_RATIO}")
    for name, spent in large.items():
        ratio = spent.median / small[name].median
        reached = ratio <= AIM_RATIO and (name in {"start", "end"} or spent.median < AIM_MILLISECONDS)
        verdict = "reached" if reached else "missed"
        table.add_row(name, f"{small[name].median:.2f} ms", f"{spent.median:.2f} ms", f"{ratio:.2f}", verdict)
    console.print(table)
    for name, spent in large.items():
        console.print(f"What the {name} reads of {executions:,} executions:", style="bold")
        for line in spent.plan:
            console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench scale`` takes."""
    parser.add_argument("--executions", type=int, default=500_000, help="the large table (default 500000)")
    parser.add_argument("--history", type=int, default=1_000, help="runs that each is judged by (default 1000)")
    parser.add_argument("--judgements", type=int, default=200, help="how many are measured (default 200)")
    parser.add_argument("--cycles", type=int, default=1_000, help="starts and ends that are measured (default 1000)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        small = _measure(services.database_url, SMALL, arguments)
        large = _measure(services.database_url, arguments.executions, arguments)
        console.print(f"A judgement is to take less than {AIM_MILLISECONDS} ms, and {AIM_RATIO} times as much at most.")
        _report(console, small, large, arguments.executions)
