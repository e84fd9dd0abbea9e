"""Executions in one table, and the same in a table per month: what gets faster, what slower, what it weighs."""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine

from bench.engines import empty_tables, engines
from bench.history import fill_executions
from bench.partitions import attach_as_partition, create_months
from bench.pgbench import measure_pgbench
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.embedded.account import engine_account
from watcher_server.embedded.binaries import postgres_binaries
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.executions.statements import END_STATEMENT, START_STATEMENT
from watcher_server.retention.executions import delete_executions

PIPELINES = 500
DAYS = 360
BATCH_SIZE = 10_000
CONNECTIONS = 4
ROUNDS = 2
MEBIBYTE = 2**20

# The monthly tables lie in schemas of their own, before the other on the search path: the same statements run on all.
ONE_TABLE = "one table"
LAYOUTS = {ONE_TABLE: "public", "months by start": "by_start,public", "months by id": "by_id,public"}

# Not waiting for the disk, which is the same for both, and hides on most machines what the statements cost.
_OPTIONS = "-c search_path={path} -c timezone=UTC -c synchronous_commit=off"

_BASELINE = """
SELECT count(total_rows), avg(total_rows), stddev_samp(total_rows) FROM pipeline_execution
WHERE pipeline_id = %(pipeline_id)s AND hour_recorded = 2 AND completed_successfully
    AND end_date >= now() - interval '30 days' AND end_date < now()
"""
_QUERIES = {
    "execution by id": "SELECT * FROM pipeline_execution WHERE id = %(id)s",
    "execution by id and start": "SELECT * FROM pipeline_execution WHERE id = %(id)s AND start_date = %(start_date)s",
    "baseline of 30 days, as it is": _BASELINE,
    "baseline of 30 days, start bounded": f"{_BASELINE} AND start_date >= now() - interval '60 days'",
    "running executions": "SELECT pipeline_id, count(*) FROM pipeline_execution WHERE end_date IS NULL GROUP BY 1",
}
_MONTH = """
SELECT date_recorded, pipeline_id, count(*), count(*) FILTER (WHERE NOT completed_successfully), sum(inserts),
    sum(updates), sum(soft_deletes), sum(total_rows), avg(duration_seconds)
FROM pipeline_execution WHERE start_date >= now() - interval '30 days' GROUP BY date_recorded, pipeline_id
"""
_ENDED = "SELECT count(*) FROM pipeline_execution WHERE end_date > now() + interval '30 minutes'"
_SIZES = """
SELECT sum(pg_relation_size(id)), sum(pg_indexes_size(id)) FROM (
    SELECT to_regclass('pipeline_execution') AS id
    UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('pipeline_execution')
) AS part
"""

Connection = psycopg.Connection[TupleRow]


@dataclass
class Trial:
    """The figures by row and layout, in the order in which they were measured."""

    rows: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, row: str, layout: str, figure: str) -> None:
        """Fill one cell."""
        self.rows.setdefault(row, {})[layout] = figure

    def show(self, console: Console, title: str) -> None:
        """Print the table."""
        table = Table("", *LAYOUTS, title=title)
        for name, figures in self.rows.items():
            table.add_row(name, *(figures.get(layout, "") for layout in LAYOUTS))
        console.print(table)


@contextmanager
def _connect(services: EmbeddedServices, layout: str) -> Iterator[Connection]:
    options = _OPTIONS.format(path=LAYOUTS[layout])
    with psycopg.connect(services.database_url, autocommit=True, options=options) as connection:
        yield connection


def _row(connection: Connection, statement: str) -> TupleRow:
    row = connection.execute(statement.encode()).fetchone()
    assert row
    return row


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def _compare(
    trial: Trial,
    connections: dict[str, Connection],
    row: str,
    statement: str,
    values: dict[str, list[dict[str, Any]]],
    *,
    prepare: bool = True,
) -> None:
    """The median of a statement over these parameters, the layouts in turns: what disturbs one disturbs the other."""
    times: dict[str, list[float]] = {layout: [] for layout in connections}
    for parameters in zip(*values.values(), strict=True):
        for (layout, connection), given in zip(connections.items(), parameters, strict=True):
            began = time.perf_counter()
            connection.execute(statement.encode(), given, prepare=prepare).fetchall()
            times[layout].append(1000 * (time.perf_counter() - began))
    for layout, measured in times.items():
        trial.note(row, layout, f"{statistics.median(measured):.2f} ms")


def _note_cycles(trial: Trial, services: EmbeddedServices, seconds: int, plans: str) -> None:
    """The best of some rounds, in turns, for the machine is never quiet all the time."""
    best = dict.fromkeys(LAYOUTS, 0.0)
    for _ in range(ROUNDS):
        for layout, path in LAYOUTS.items():
            os.environ["PGOPTIONS"] = f"{_OPTIONS.format(path=path)} -c plan_cache_mode={plans}"
            reached = measure_pgbench(
                postgres_binaries(services.home, engine_account()),
                services.database_url,
                services.home,
                connections=CONNECTIONS,
                seconds=seconds,
                pipelines=PIPELINES,
            )
            best[layout] = max(best[layout], reached)
    del os.environ["PGOPTIONS"]
    for layout, reached in best.items():
        trial.note(f"start + end cycles/s, plan_cache_mode {plans}", layout, f"{reached:,.0f}")


def _note_statements(trial: Trial, connections: dict[str, Connection], count: int) -> None:
    nothing = dict.fromkeys(("parent_id", "watermark", "next_watermark", "start_date", "context")) | {"backfill": False}
    starts = [{**nothing, "pipeline_id": number % PIPELINES + 1} for number in range(count)]
    _compare(trial, connections, "start", START_STATEMENT, dict.fromkeys(connections, starts))
    ends = {layout: _ends(connection, count) for layout, connection in connections.items()}
    _compare(trial, connections, "end", END_STATEMENT, ends)
    ended = {_row(connection, _ENDED)[0] for connection in connections.values()}
    assert len(ended) == 1, f"The layouts have not ended the same: {ended}"


def _ends(connection: Connection, count: int) -> list[dict[str, Any]]:
    """The ends of what was started last."""
    numbers = dict.fromkeys(("inserts", "updates", "soft_deletes", "total_rows"), 1000)
    late = {"end_date": datetime.now(UTC) + timedelta(hours=1), "completed_successfully": True}
    latest = connection.execute("SELECT id FROM pipeline_execution ORDER BY id DESC LIMIT %s", [count]).fetchall()
    return [
        {**numbers, **late, "execution_metadata": None, "context": None, "nothing_to_do": False, "id": id_}
        for (id_,) in latest
    ]


def _note_queries(trial: Trial, connections: dict[str, Connection], count: int) -> None:
    chance = random.Random(1)  # noqa: S311 - a repeatable choice needs no secret
    connection = connections[ONE_TABLE]
    highest = _row(connection, "SELECT max(id) FROM pipeline_execution WHERE start_date < now() - interval '1 h'")[0]
    some = [chance.randint(1, highest) for _ in range(count)]
    found = connection.execute("SELECT id, start_date FROM pipeline_execution WHERE id = ANY(%s)", [some]).fetchall()
    runs = [{"id": id_, "start_date": start, "pipeline_id": id_ % PIPELINES + 1} for id_, start in found]
    values = {layout: runs for layout in connections}  # noqa: C420 - they are read only
    for name, statement in _QUERIES.items():
        # Once before, so that all of it has been read.
        for row in (name, name):
            _compare(trial, connections, row, statement, values)
    by_id = "execution by id"
    _compare(trial, connections, f"{by_id}, planned anew", _QUERIES[by_id], values, prepare=False)
    _compare(trial, connections, "figures of a month", _MONTH, dict.fromkeys(connections, [{}] * 3))


def _note_sizes(trial: Trial, connection: Connection, layout: str, name: str) -> None:
    rows, indexes = (size / MEBIBYTE for size in _row(connection, _SIZES))
    trial.note(name, layout, f"{rows:,.0f} + {indexes:,.0f} MiB")


def _months_to_delete(connection: Connection) -> list[date]:
    """The first days of the oldest month, of which there may be but a few days, and of the two that follow."""
    first: date = _row(connection, "SELECT min(start_date)::date FROM pipeline_execution")[0]
    begin = first.replace(day=1)
    second = (begin + timedelta(days=32)).replace(day=1)
    return [begin, second, (second + timedelta(days=32)).replace(day=1)]


def _note_deletion(trial: Trial, services: EmbeddedServices, layout: str) -> None:
    """The oldest months go: row by row with what hangs on it, or as tables and then what hung on them."""
    with _connect(services, layout) as connection:
        *months, end = _months_to_delete(connection)
        old = _row(connection, f"SELECT count(*) FROM pipeline_execution WHERE start_date < '{end}'")[0]  # noqa: S608 - a date
        trial.note("executions of the two oldest months", layout, f"{old:,}")
        connection.execute("CHECKPOINT")
        before = _row(connection, "SELECT pg_current_wal_insert_lsn()")[0]
        if layout == ONE_TABLE:
            milliseconds = _milliseconds(lambda: _delete(services, end))
        else:
            milliseconds = sum(_drop(connection, month, trial, layout) for month in months)
        written = _row(connection, f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}')")[0]
        trial.note("their deletion", layout, f"{milliseconds / 1000:.2f} s")
        trial.note("write-ahead log of it", layout, f"{written / MEBIBYTE:,.1f} MiB")
        vacuum = _milliseconds(lambda: connection.execute("VACUUM pipeline_execution, pipeline_execution_closure"))
        trial.note("vacuum after it", layout, f"{vacuum / 1000:.2f} s")
        _note_sizes(trial, connection, layout, "rows + indexes after it")


def _delete(services: EmbeddedServices, end: date) -> None:
    engine = create_engine(sqlalchemy_url(services.database_url))
    cutoff = datetime(end.year, end.month, end.day, tzinfo=UTC)
    deleted = sum(
        step.counts["total_pipeline_executions_deleted"] for step in delete_executions(engine, cutoff, BATCH_SIZE)
    )
    engine.dispose()
    assert deleted, "There was nothing to delete."


def _drop(connection: Connection, begin: date, trial: Trial, layout: str) -> float:
    schema = LAYOUTS[layout].partition(",")[0]
    month = f"{schema}.pipeline_execution_{begin:%Y_%m}"
    lowest, highest = _row(connection, f"SELECT min(id), max(id) FROM {month}")  # noqa: S608 - the month's name
    detach = f"ALTER TABLE {schema}.pipeline_execution DETACH PARTITION {month} CONCURRENTLY"
    detaching = _milliseconds(lambda: connection.execute(detach.encode()))
    dropping = _milliseconds(lambda: connection.execute(f"DROP TABLE {month}".encode()))
    closure = f"DELETE FROM pipeline_execution_closure WHERE child_execution_id BETWEEN {lowest} AND {highest}"  # noqa: S608 - numbers
    following = _milliseconds(lambda: connection.execute(closure.encode()))
    trial.note("of that, of the last month: DETACH, DROP", layout, f"{(detaching + dropping) / 1000:.2f} s")
    trial.note("of that, of the last month: closure rows", layout, f"{following / 1000:.2f} s")
    return detaching + dropping + following


def _measure(services: EmbeddedServices, console: Console, arguments: argparse.Namespace) -> None:
    empty_tables(services.database_url, pipelines=0)
    fill_executions(services.database_url, pipelines=PIPELINES, executions=arguments.executions, days=DAYS)
    trial = Trial()
    with _connect(services, ONE_TABLE) as connection:
        months = max(create_months(connection, schema) for schema in ("by_start", "by_id"))
    for layout in LAYOUTS:
        with _connect(services, layout) as connection:
            _note_sizes(trial, connection, layout, "rows + indexes")
    # PostgreSQL prefers to plan these anew each time once there are many tables, for it takes a kept plan to read all.
    for plans in ("auto", "force_generic_plan"):
        _note_cycles(trial, services, arguments.seconds, plans)
    with ExitStack() as opened:
        connections = {layout: opened.enter_context(_connect(services, layout)) for layout in LAYOUTS}
        _note_statements(trial, connections, arguments.repeat)
        _note_queries(trial, connections, arguments.repeat)
    for layout in LAYOUTS:
        _note_deletion(trial, services, layout)
    trial.show(
        console, f"{arguments.executions:,} executions, {DAYS} days, {months} months; medians, commits not waited for"
    )
    with _connect(services, ONE_TABLE) as connection:
        for step, milliseconds in attach_as_partition(connection):
            console.print(f"The one table becomes the first month: {step}: {milliseconds:,.0f} ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench partitioning`` takes."""
    parser.add_argument("--executions", type=int, default=1_000_000, help="in either layout (default 1000000)")
    parser.add_argument("--seconds", type=int, default=3, help="of each round of cycles (default 3)")
    parser.add_argument("--repeat", type=int, default=400, help="how often each statement is run (default 400)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        _measure(services, console, arguments)
