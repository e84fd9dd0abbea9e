"""The checks of freshness, timeliness and schedules, each in the transaction that its task would use."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine, create_engine, text

from bench.engines import engines, settle
from watcher_server.alerts.models import Alert
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.freshness.service import check_freshness
from watcher_server.missed_runs.service import check_schedules
from watcher_server.timeliness.service import check_timeliness

FRESHNESS_SECONDS = 0.5
TIMELINESS_SECONDS = 1.5
LOOKBACK_MINUTES = 60
MAX_AGE_HOURS = 24
# Other expressions than these come to the same moment; four zones, so that not all pipelines share one schedule.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")

_PIPELINES = """
INSERT INTO pipeline (name, pipeline_type_id, freshness_number, freshness_datepart, timeliness_number,
    timeliness_datepart, last_target_insert)
SELECT 'bench ' || n, 1, 1, 'hour', 10, 'minute', now() - make_interval(mins => 61 + n %% 1000)
FROM generate_series(1, %(pipelines)s) AS n
"""

# Started 30 to 55 minutes ago, a tenth still running: those, and four of the ended nine, are overdue at 10 minutes.
_EXECUTIONS = """
INSERT INTO pipeline_execution
    (pipeline_id, start_date, end_date, date_recorded, hour_recorded, duration_seconds, completed_successfully)
SELECT 1 + n %% %(pipelines)s, started, ended, (started AT TIME ZONE 'UTC')::date,
    extract(hour FROM started AT TIME ZONE 'UTC'), extract(epoch FROM ended - started),
    CASE WHEN n %% 10 > 0 THEN true END
FROM generate_series(1, %(executions)s) AS n,
    LATERAL (SELECT now() - make_interval(mins => 30, secs => n %% 1500)) AS begun (started),
    LATERAL (SELECT CASE WHEN n %% 10 > 0 THEN
        started + make_interval(mins => CASE WHEN n %% 10 <= 4 THEN 20 ELSE 5 END) END) AS done (ended)
"""

# Due a quarter of an hour ago, of which half were started in time.
_SCHEDULES = """
UPDATE pipeline SET schedule_timezone = zone, expected_next_run = due,
    schedule = extract(minute FROM due AT TIME ZONE zone) || ' ' || extract(hour FROM due AT TIME ZONE zone) || ' * * *'
FROM (SELECT date_trunc('minute', now()) - interval '15 minutes') AS moment (due),
    unnest(%(zones)s::text[]) WITH ORDINALITY AS spread (zone, number)
WHERE pipeline.id %% array_length(%(zones)s::text[], 1) + 1 = number
"""

_STARTED = """
INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded)
SELECT id, expected_next_run + interval '4 seconds', expected_next_run::date, extract(hour FROM expected_next_run)
FROM pipeline WHERE id %% 2 = 0
"""


@dataclass(frozen=True)
class Measured:
    """How long one check took, in seconds, and what it found."""

    seconds: float
    found: int


def _empty(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute("TRUNCATE pipeline_type, pipeline, pipeline_execution, alert, outbox RESTART IDENTITY CASCADE")
    connection.execute("INSERT INTO pipeline_type (name) VALUES ('bench')")


def _generate(database_url: str, statements: list[str], **numbers: object) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        _empty(connection)
        for statement in statements:
            connection.execute(statement.encode(), numbers)
        settle(connection)


def _measure(engine: Engine, check: Callable[[Connection], int]) -> Measured:
    began = time.perf_counter()
    with engine.begin() as connection:
        found = check(connection)
    return Measured(time.perf_counter() - began, found)


def _check_schedules(connection: Connection) -> int:
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return check_schedules(connection, now, alert_max_age_hours=MAX_AGE_HOURS).logged


def _check_timeliness(connection: Connection) -> int:
    return check_timeliness(connection, LOOKBACK_MINUTES, alert_max_age_hours=MAX_AGE_HOURS).logged


def _alerted(engine: Engine) -> str:
    with engine.connect() as connection:
        alerts = connection.execute(text("SELECT message, json_array_length(details::json) FROM alert")).all()
    assert len(alerts) == 1, f"one alert was to be raised, not {len(alerts)}, by {Alert.__tablename__}"
    return f"{alerts[0][0]} ({alerts[0][1]} details)"


def _row(table: Table, engine: Engine, what: str, check: Callable[[Connection], int], aim: float | None) -> None:
    first, again = _measure(engine, check), _measure(engine, check)
    assert (first.found > 0, again.found) == (True, 0), f"{first.found} were found, and then {again.found}"
    table.add_row(
        what,
        f"{first.found:,}",
        f"{first.seconds:.2f} s",
        "" if aim is None else f"{aim:.1f} s",
        f"{again.seconds:.2f} s",
        _alerted(engine),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench checks`` takes."""
    parser.add_argument("--stale", type=int, default=20_000, help="pipelines that are stale (default 20000)")
    parser.add_argument("--pipelines", type=int, default=10_000, help="pipelines with executions (default 10000)")
    parser.add_argument("--executions", type=int, default=100_000, help="in the lookback (default 100000)")
    parser.add_argument("--scheduled", type=int, default=20_000, help="pipelines due at one minute (default 20000)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    table = Table(
        "check", "found", "first check", "aim", "nothing new", "the alert", title="Checks, one transaction each"
    )
    with engines() as services:
        url = services.database_url
        engine = create_engine(sqlalchemy_url(url), connect_args={"options": "-c timezone=UTC"})
        _generate(url, [_PIPELINES], pipelines=arguments.stale)
        _row(
            table,
            engine,
            f"freshness, {arguments.stale:,} stale pipelines",
            lambda connection: check_freshness(connection).logged,
            FRESHNESS_SECONDS,
        )
        _generate(url, [_PIPELINES, _EXECUTIONS], pipelines=arguments.pipelines, executions=arguments.executions)
        what = f"timeliness, {arguments.pipelines:,} pipelines, {arguments.executions:,} executions"
        _row(table, engine, what, _check_timeliness, TIMELINESS_SECONDS)
        zones = list(ZONES)
        _generate(url, [_PIPELINES, _SCHEDULES, _STARTED], pipelines=arguments.scheduled, zones=zones)
        _row(table, engine, f"schedules, {arguments.scheduled:,} pipelines due", _check_schedules, None)
        engine.dispose()
    console.print(table)
