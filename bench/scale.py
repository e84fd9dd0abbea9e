"""What a judgement, a start and an end cost the database over a small table of executions, and over a large one.

Both are databases of one server and are measured turn about, because the speed of a machine may vary by half within a
minute.
"""

import argparse
import asyncio
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.types.numeric import Int8Dumper
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine, create_engine

from bench.engines import engines, settle
from bench.history import fill_executions
from tests.support.statements import watched_statements
from watcher_server.anomalies import detection
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.migrate import migrate
from watcher_server.executions.ingest import end_execution, start_execution
from watcher_server.executions.schemas import ExecutionEnd, ExecutionStart
from watcher_server.executions.statements import END_STATEMENT, START_STATEMENT

SMALL = 10_000
AIM_MILLISECONDS = 5
AIM_RATIO, START_AIM_RATIO = 1.2, 1.5
_PIPELINES = 1_000
_DAYS = 365
# As many as the pipelines that are judged, so that each has been met.
_WARM_UP = 40
# How many pipelines have runs that are judged; see _ADD_RUNS.
_FEW, _MANY = 8, 40
_JUDGED_RUNS = 240
# How often one database is asked until it is the other one's turn.
_BLOCK = 20

_ADD_JUDGED = """
WITH judged AS (
    INSERT INTO pipeline (name, pipeline_type_id)
    SELECT 'one of ' || %(pipelines)s || ' judged ' || n, (SELECT min(id) FROM pipeline_type)
    FROM generate_series(1, %(pipelines)s) AS n
    RETURNING id
), rule AS (
    INSERT INTO anomaly_detection_rule (pipeline_id, metric_field, learning)
    SELECT id, metric, false FROM judged CROSS JOIN unnest(
        ARRAY['duration_seconds', 'inserts', 'updates', 'soft_deletes', 'total_rows', 'throughput']) AS metric
)
SELECT id FROM judged
"""

# The pipelines take turns; forty of them fill a page, so each run of one lies on a page of its own, as in life. In a
# small table there is no room for that: eight have five runs on each page, and eight in the large table tell what that
# alone makes. All runs of the last moment are judged, each by its pipeline's runs before.
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


def judge(connection: Connection, runs: Iterable[tuple[int, int]]) -> Spent:
    """Judge each run as its task does when it is usual: the time that its statements take.

    Like a worker's, the connection is on autocommit, and PostgreSQL may keep a plan of what it has met before.
    """
    spent = Spent()
    for pipeline_id, execution_id in runs:
        with watched_statements() as statements:
            detection.judge(connection, pipeline_id, execution_id, lock=False)
        spent.milliseconds.append(1_000 * sum(sent.seconds for sent in statements))
    return spent


def judging(database_url: str) -> Engine:
    """Connections to judge on."""
    options = {"options": "-c timezone=UTC"}
    return create_engine(sqlalchemy_url(database_url), connect_args=options, isolation_level="AUTOCOMMIT")


@dataclass
class Ground:
    """A database with executions: runs to be judged, as (pipeline, execution), and pipelines that are not judged."""

    database_url: str
    runs: list[tuple[int, int]]
    pipelines: list[int]
    judged: Spent = field(default_factory=Spent)
    started: Spent = field(default_factory=Spent)
    ended: Spent = field(default_factory=Spent)


def _prepare(database_url: str, executions: int, *, judged: int, history: int) -> Ground:
    others = executions - judged * history - _JUDGED_RUNS
    pipelines = fill_executions(database_url, pipelines=_PIPELINES, executions=max(0, others), days=_DAYS)
    return Ground(database_url, _add_judged(database_url, pipelines=judged, history=history), pipelines)


def _add_judged(database_url: str, *, pipelines: int, history: int) -> list[tuple[int, int]]:
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
        each = _JUDGED_RUNS // pipelines
        found += connection.execute(_ADD_RUNS, {"last": last, "runs": each - 1, "apart": timedelta(0), "ids": ids})
        settle(connection)
    return found


def _turns(grounds: Sequence[Ground], calls: int) -> Iterator[int]:
    """Which of them is asked, a block at a time; none is always the first."""
    for number in range(-(-calls // _BLOCK)):
        yield from range(len(grounds)) if number % 2 else reversed(range(len(grounds)))


def _judge(grounds: Sequence[Ground], judgements: int) -> None:
    engines = [judging(ground.database_url) for ground in grounds]
    runs = [cycle(ground.runs) for ground in grounds]
    with ExitStack() as stack:
        connections = [stack.enter_context(engine.connect()) for engine in engines]
        for place, connection in enumerate(connections):
            judge(connection, islice(runs[place], _WARM_UP))
        for place in _turns(grounds, judgements):
            found = judge(connections[place], islice(runs[place], _BLOCK))
            grounds[place].judged.milliseconds += found.milliseconds
        for ground, connection in zip(grounds, connections, strict=True):
            with watched_statements() as statements:
                detection.judge(connection, *ground.runs[0], lock=False)
            ground.judged.plan = _explain(connection, [sent[:3] for sent in statements])
    for engine in engines:
        engine.dispose()


async def _cycle(grounds: Sequence[Ground], cycles: int) -> None:
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(await _connect(ground.database_url)) for ground in grounds]
        for ground, connection in zip(grounds, connections, strict=True):
            await _cycle_block(connection, ground.pipelines[:_WARM_UP])
        pipelines = [cycle(ground.pipelines) for ground in grounds]
        for place in _turns(grounds, cycles):
            starts, ends = await _cycle_block(connections[place], islice(pipelines[place], _BLOCK))
            grounds[place].started.milliseconds += starts
            grounds[place].ended.milliseconds += ends


async def _connect(database_url: str) -> psycopg.AsyncConnection[Any]:
    """A connection as the api has it for reports, but that its answers wait for no disk."""
    connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    connection.adapters.register_dumper(int, Int8Dumper)
    for setting in ("synchronous_commit", "enable_seqscan"):
        await connection.execute(f"SET {setting} = off")
    return connection


async def _cycle_block(
    connection: psycopg.AsyncConnection[Any], pipelines: Iterable[int]
) -> tuple[list[float], list[float]]:
    """Start and end a run of each pipeline with the product's own functions; the milliseconds of starts and of ends."""
    starts, ends = [], []
    for pipeline_id in pipelines:
        body = ExecutionStart.model_validate({"pipeline_id": pipeline_id})
        began = time.perf_counter()
        execution_id = await start_execution(connection, body)
        started = time.perf_counter()
        numbers = {"completed_successfully": True, "inserts": 1_000, "total_rows": 1_000, "next_watermark": "1"}
        await end_execution(connection, ExecutionEnd.model_validate({"id": execution_id, **numbers}))
        starts.append(1_000 * (started - began))
        ends.append(1_000 * (time.perf_counter() - started))
    return starts, ends


_START = dict.fromkeys(("parent_id", "start_date", "watermark", "next_watermark", "context")) | {"backfill": False}
_END = dict.fromkeys(("updates", "soft_deletes", "execution_metadata", "context")) | {"nothing_to_do": False}


def _explain_cycle(ground: Ground) -> None:
    engine = create_engine(sqlalchemy_url(ground.database_url))
    with engine.connect() as connection:
        parameters = {**_START, "pipeline_id": ground.pipelines[0]}
        execution_id = connection.exec_driver_sql(START_STATEMENT, parameters).scalar_one()
        ground.started.plan = _explain(connection, [(psycopg.Cursor[Any], START_STATEMENT, parameters)])
        numbers = {"id": execution_id, "inserts": 1, "total_rows": 1, "completed_successfully": True}
        ended = {**_END, **numbers, "end_date": datetime.now(UTC) + timedelta(seconds=1)}
        ground.ended.plan = _explain(connection, [(psycopg.Cursor[Any], END_STATEMENT, ended)])
        connection.rollback()
    engine.dispose()


def _report(console: Console, small: Ground, large: Ground, near: Ground, executions: int) -> None:
    table = Table("database time, p50", f"{SMALL:,} executions", f"{executions:,}", "ratio", "aim", "")
    compared = {
        "judgement, six rules": (small.judged, large.judged, AIM_RATIO),
        "the same, runs as near to each other": (small.judged, near.judged, None),
        "start": (small.started, large.started, START_AIM_RATIO),
        "end": (small.ended, large.ended, START_AIM_RATIO),
    }
    for name, (before, after, aim) in compared.items():
        ratio = after.median / before.median
        reached = aim is not None and ratio <= aim and after.median < AIM_MILLISECONDS
        verdict = "" if aim is None else "reached" if reached else "missed"
        times = (f"{spent.median:.2f} ms" for spent in (before, after))
        table.add_row(name, *times, f"{ratio:.2f}", "" if aim is None else f"{AIM_MILLISECONDS} ms, {aim}", verdict)
    console.print(table)
    for name, (before, after, aim) in compared.items():
        for number, spent in ((SMALL, before), (executions, after)) if aim else ():
            console.print(f"What the {name} reads of {number:,} executions:", style="bold")
            for line in spent.plan:
                console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench scale`` takes."""
    parser.add_argument("--executions", type=int, default=500_000, help="the large table (default 500000)")
    parser.add_argument("--history", type=int, default=1_000, help="runs that each is judged by (default 1000)")
    parser.add_argument("--judgements", type=int, default=1_000, help="how many are measured (default 1000)")
    parser.add_argument("--cycles", type=int, default=1_000, help="starts and ends that are measured (default 1000)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        beside = _add_database(services.database_url, "watcher_large")
        history = arguments.history
        small = _prepare(services.database_url, SMALL, judged=_FEW, history=history)
        large = _prepare(beside, arguments.executions, judged=_MANY, history=history)
        near = replace(large, runs=_add_judged(beside, pipelines=_FEW, history=history), judged=Spent())
        _judge([small, large, near], arguments.judgements)
        asyncio.run(_cycle([small, large], arguments.cycles))
        for ground in (small, large):
            _explain_cycle(ground)
        _report(console, small, large, near, arguments.executions)


def _add_database(database_url: str, name: str) -> str:
    """A second database of the same server, with Watcher's tables; its URL."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    beside = urlsplit(database_url)._replace(path=f"/{name}").geturl()
    migrate(beside)
    return beside
