"""Incidents: how long a sweep takes, how soon root causes are known, and how soon people hear of a failed run.

10,000 pipelines, of which a tenth have an incident open, half a million resolved ones behind them, and graphs of
10,000 addresses. Then a real api and a real worker with a webhook at hand: from the end that is sent to the message
that arrives; and cycles of starts and ends of which a share fails.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import httpx
import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine, create_engine, text

from bench.engines import empty_broker, empty_tables, engines, settle, watcher_api, watcher_worker
from bench.lineage import Shape, draw
from bench.load import Measured, measure_cycles, milliseconds_of
from tests.support.live import free_port, wait_until
from tests.support.slack import SlackSink, slack_sink
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.incidents.roots import read_roots
from watcher_server.incidents.sweep import sweep_incidents
from watcher_server.lineage.closure import rebuild_part
from watcher_server.lineage.walk import ClosureChange
from watcher_server.settings import Settings, load_settings

SEED = 11
PIPELINES = 10_000
OPEN = 1_000
CYCLED = 100
KINDS = ("failing", "missed", "late", "stale", "anomalous")
SWEEP_AIM_MILLISECONDS = 100
ROOTS_AIM_MILLISECONDS = 1_000
ONE_ROOT_AIM_MILLISECONDS = 100
TOLD_AIM_MILLISECONDS = 2_000
NEAR = Shape("10 x 1,000, 3 targets within 10", 10, 1_000, 3, 10)
FAR = Shape("5 x 2,000, 4 targets anywhere", 5, 2_000, 4, None)
CHAIN = Shape("chain of 1,000", 1_000, 1, 1, None)

# Each pipeline has missed a run, is stale, has failed, is late and out of range, so that the sweep resolves nothing.
_PIPELINES = """
INSERT INTO pipeline (name, pipeline_type_id, schedule, expected_next_run, last_missed_run, freshness_number,
    freshness_datepart, timeliness_number, timeliness_datepart, last_target_insert)
SELECT 'bench ' || n, 1, '0 * * * *', now() + interval '1 hour', now() - interval '5 minutes', 1, 'hour', 10, 'minute',
    now() - interval '2 hours'
FROM generate_series(1, %(pipelines)s) AS n
"""
_RUNS = """
INSERT INTO pipeline_execution
    (pipeline_id, start_date, end_date, date_recorded, hour_recorded, completed_successfully, anomaly_flags, total_rows)
SELECT pipeline.id, began, began + interval '1 minute', began::date, 1, number < 20,
    CASE WHEN number = 20 THEN '{"total_rows": true}'::jsonb ELSE '{}' END, 100
FROM pipeline, generate_series(1, 20) AS number,
    LATERAL (SELECT now() - make_interval(hours => 22 - number)) AS moment (began)
"""
_LATE = """
WITH going AS (
    INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded)
    SELECT id, now() - interval '40 minutes', now()::date, 1 FROM pipeline RETURNING id, pipeline_id
)
INSERT INTO timeliness_pipeline_execution_log (pipeline_execution_id, pipeline_id, duration_seconds, seconds_threshold,
    execution_status, timely_number, timely_datepart, used_child_config, severity)
SELECT id, pipeline_id, 2400, 600, 'running', 10, 'minute', true, 'failure' FROM going
"""
_ANOMALIES = """
WITH rule AS (
    INSERT INTO anomaly_detection_rule (pipeline_id, metric_field) SELECT id, 'total_rows' FROM pipeline
    RETURNING id, pipeline_id
)
INSERT INTO anomaly_detection_result (rule_id, pipeline_execution_id, metric_field, violation_value, z_score,
    historical_mean, historical_std, z_threshold, lower_bound, upper_bound, execution_count, context)
SELECT rule.id, execution.id, 'total_rows', 100, -9, 1000, 100, 3, 700, 1300, 30, '{}'
FROM rule JOIN pipeline_execution AS execution USING (pipeline_id) WHERE anomaly_flags <> '{}'
"""
_HISTORY = """
INSERT INTO incident (kind, pipeline_id, level, state, since, opened_at, resolved_at, resolution)
SELECT (%(kinds)s::text[])[1 + number %% 5], pipeline.id, 'WARNING', 'resolved', moment, moment,
    moment + interval '1 hour', 'auto'
FROM pipeline, generate_series(1, 50) AS number,
    LATERAL (SELECT now() - make_interval(days => number)) AS at (moment)
"""
_OPEN = """
INSERT INTO incident (kind, pipeline_id, level, since, opened_at, changed_at, told_at, execution_id)
SELECT %(kind)s, pipeline.id, 'WARNING', now(), now() - make_interval(secs => %(seconds)s),
    now() - interval '1 hour', now(), (
    SELECT max(id) FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = pipeline.id AND end_date IS NOT NULL
)
FROM pipeline WHERE id = ANY(%(ids)s)
"""
_ADDRESSES = "INSERT INTO address (name, address_type_id) SELECT 'bench ' || n, 1 FROM generate_series(1, %s) AS n"


class Timed(NamedTuple):
    """Milliseconds of each round, and what the last one answered."""

    milliseconds: list[float]
    answer: Any


def _empty(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "TRUNCATE incident, incident_event, alert, address_lineage_closure, address_lineage_pending, address_lineage,"
        " address, address_type, pipeline_execution, pipeline, pipeline_type, outbox, task RESTART IDENTITY CASCADE"
    )
    connection.execute("INSERT INTO pipeline_type (name) VALUES ('bench')")
    connection.execute("INSERT INTO address_type (name, group_name) VALUES ('table', 'database')")


def _fill(database_url: str, engine: Engine, shape: Shape, *, history: bool) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        _empty(connection)
        connection.execute(_PIPELINES, {"pipelines": PIPELINES})
        connection.execute(_RUNS, {})
        connection.execute(_LATE)
        connection.execute(_ANOMALIES)
        if history:
            connection.execute(_HISTORY, {"kinds": list(KINDS)})
        connection.execute(_ADDRESSES, [shape.addresses])
        # Each address that is written has a pipeline of its own.
        copy_edges = "COPY address_lineage (pipeline_id, source_address_id, target_address_id) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(copy_edges) as copy:
            for source, target in sorted(draw(shape)):
                copy.write_row((target, source, target))
    addresses = list(range(1, shape.addresses + 1))
    while True:
        with engine.begin() as connection_:
            remaining = rebuild_part(connection_, addresses, ClosureChange())
        addresses = []
        if not remaining:
            break
    with psycopg.connect(database_url, autocommit=True) as connection:
        settle(connection)


def _open(database_url: str, number: int, kinds: Sequence[str], shape: Shape) -> None:
    """Incidents of pipelines that are spread over the graph, as many of each kind, told a minute ago."""
    ids = random.Random(SEED).sample(range(1, shape.addresses + 1), number)  # noqa: S311 - the same every time
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM incident WHERE state <> 'resolved'")
        for place, kind in enumerate(kinds):
            connection.execute(_OPEN, {"kind": kind, "seconds": 60 + place, "ids": ids[place :: len(kinds)]})
        settle(connection)


def _time(engine: Engine, rounds: int, do: Callable[[Connection], Any]) -> Timed:
    taken, answer = [], None
    for _ in range(rounds):
        with engine.begin() as connection:
            began = time.perf_counter()
            answer = do(connection)
            taken.append(1_000 * (time.perf_counter() - began))
    return Timed(taken, answer)


def _row(table: Table, what: str, timed: Timed, found: str, aim: int) -> None:
    first, *others = timed.milliseconds
    table.add_row(what, found, f"{first:,.0f} ms", f"{median(others):,.0f} ms", f"{aim:,} ms")


def _live(connection: Connection) -> Sequence[int]:
    return connection.scalars(text("SELECT id FROM incident WHERE state <> 'resolved'")).all()


def _measure_statements(services: EmbeddedServices, engine: Engine, settings: Settings, rounds: int) -> Table:
    table = Table("", "found", "the first", "the others", "aim", title="In the database, one transaction each")
    url = services.database_url
    for shape in (NEAR, FAR, CHAIN):
        _fill(url, engine, shape, history=shape is NEAR)
        if shape is NEAR:
            _open(url, OPEN, KINDS, shape)
            swept = _time(engine, rounds, lambda connection: sweep_incidents(connection, settings))
            what = f"sweep, {PIPELINES:,} pipelines, {OPEN:,} open, 500,000 resolved"
            _row(table, what, swept, f"{swept.answer:,} over", SWEEP_AIM_MILLISECONDS)
        for kind in ("stale", "anomalous"):
            _open(url, OPEN, [kind], shape)
            found = _time(engine, rounds, lambda connection: read_roots(connection, _live(connection)))
            roots = f"{len(found.answer):,} explained by {len(set(found.answer.values())):,}"
            _row(table, f"roots of {OPEN:,} {kind}, {shape.name}", found, roots, ROOTS_AIM_MILLISECONDS)
        one = _time(engine, rounds, lambda connection: read_roots(connection, [max(_live(connection))]))
        _row(table, f"root of one beside {OPEN:,}, {shape.name}", one, "", ONE_ROOT_AIM_MILLISECONDS)
    return table


def _measure_messages(services: EmbeddedServices, failures: int) -> list[float]:
    """Seconds from sending the end of a run that failed to the message at the webhook, one after the other."""
    empty_tables(services.database_url, pipelines=failures)
    empty_broker(services.broker_url)
    port, folder = free_port(), services.home
    with (
        slack_sink() as sink,
        watcher_api(port, folder, processes=1, WATCHER_SLACK_WEBHOOK_URL=sink.url),
        watcher_worker(folder, concurrency=2, WATCHER_SLACK_WEBHOOK_URL=sink.url),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        return [_until_told(client, sink, pipeline_id) for pipeline_id in range(1, failures + 1)]


def _until_told(client: httpx.Client, sink: SlackSink, pipeline_id: int) -> float:
    started = client.post("/start_pipeline_execution", json={"pipeline_id": pipeline_id})
    began = time.perf_counter()
    end = {"id": started.json()["id"], "completed_successfully": False}
    client.post("/end_pipeline_execution", json=end).raise_for_status()
    wait_until(lambda: any(f"'bench {pipeline_id}'" in text for text in sink.texts), "the message", 60)
    return time.perf_counter() - began


def _measure_cycles(services: EmbeddedServices, fail_every: int, arguments: argparse.Namespace) -> Measured:
    empty_tables(services.database_url, pipelines=CYCLED)
    empty_broker(services.broker_url)
    port = free_port()
    with (
        watcher_api(port, services.home, processes=2) as pid,
        watcher_worker(services.home, concurrency=2),
    ):
        return measure_cycles(
            port,
            pid,
            connections=arguments.connections,
            seconds=arguments.seconds,
            pipelines=CYCLED,
            fail_every=fail_every,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench incidents`` takes."""
    parser.add_argument("--rounds", type=int, default=5, help="how often each statement is measured (default 5)")
    parser.add_argument("--failures", type=int, default=100, help="runs that fail, for the messages (default 100)")
    parser.add_argument("--seconds", type=int, default=8, help="how long cycles are measured (default 8)")
    parser.add_argument("--connections", type=int, default=16, help="cycles at once (default 16)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        engine = create_engine(sqlalchemy_url(services.database_url), connect_args={"options": "-c timezone=UTC"})
        settings = load_settings(database_url=services.database_url)
        console.print(_measure_statements(services, engine, settings, arguments.rounds))
        engine.dispose()
        seconds = _measure_messages(services, arguments.failures)
        told = Table("failures", "p50", "p95", "aim at p95", title="From a failed end to its message at a webhook")
        p50, p95 = (f"{milliseconds_of(seconds, share):,.0f} ms" for share in (0.5, 0.95))
        told.add_row(f"{len(seconds):,}", p50, p95, f"{TOLD_AIM_MILLISECONDS:,} ms")
        console.print(told)
        title = f"Start + end cycles, {arguments.connections} connections, two api processes and a worker"
        cycles = Table("failing", "cycles/s", "CPU ms/cycle", "p50 ms", "p99 ms", "errors", title=title)
        for fail_every in (0, 10, 2):
            measured = _measure_cycles(services, fail_every, arguments)
            cycles.add_row(
                f"one in {fail_every}" if fail_every else "none",
                f"{measured.cycles_per_second:,.0f}",
                f"{measured.cpu_milliseconds_per_cycle:.2f}",
                f"{measured.latency_milliseconds(0.5):.1f}",
                f"{measured.latency_milliseconds(0.99):.1f}",
                str(measured.errors),
            )
        console.print(cycles)
