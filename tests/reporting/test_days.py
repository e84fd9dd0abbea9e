"""Where a day begins and ends, to the microsecond, and when its sums replace its executions."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.reporting.model import MICROSECOND, TODAY, check_report, day, end_run, noon, reported, start_run
from tests.support.clock import DatabaseClock
from tests.support.factories import make_pipeline
from tests.support.rows import add_pipeline, add_run
from watcher_server.reporting.sums import watch_past_days
from watcher_server.reporting.tasks import daily_metrics_task

# The first and the last start of each of three days; of each run another number of inserts.
RUNS = {
    day(3): 1,
    day(2) - MICROSECOND: 10,
    day(2): 100,
    day(1) - MICROSECOND: 1_000,
    day(1): 10_000,
    TODAY - MICROSECOND: 100_000,
}
INSERTS = {3: 11, 2: 1_100, 1: 110_000}


def _add_runs(engine: Engine, pipeline_id: int, *, ended: bool = True) -> list[int]:
    with engine.begin() as connection:
        return [
            add_run(connection, pipeline_id, start_date=start, end_date=noon(0) if ended else None, inserts=inserts)
            for start, inserts in RUNS.items()
        ]


async def _inserts(client: httpx.AsyncClient, **query: Any) -> dict[str, int]:
    return {row["date_recorded"]: row["daily_inserts"] for row in await reported(client, **query)}


def _by_day(inserts: dict[int, int]) -> dict[str, int]:
    return {day(days_ago).date().isoformat(): number for days_ago, number in inserts.items()}


def _noted(engine: Engine) -> list[int]:
    """How many days ago the days are whose figures have changed since they were over."""
    statement = text("SELECT date_recorded FROM daily_pipeline_metric_change ORDER BY date_recorded")
    with engine.connect() as connection:
        return [(TODAY.date() - changed).days for changed in connection.scalars(statement)]


@pytest.fixture
def pipeline_id(engine: Engine) -> int:
    with engine.begin() as connection:
        return add_pipeline(connection)


async def test_a_run_is_one_of_the_day_that_it_starts_in(
    client: httpx.AsyncClient, engine: Engine, pipeline_id: int
) -> None:
    _add_runs(engine, pipeline_id)
    assert await _inserts(client) == _by_day(INSERTS)


async def test_a_day_is_summed_from_its_first_start_to_its_last(
    client: httpx.AsyncClient, engine: Engine, pipeline_id: int
) -> None:
    _add_runs(engine, pipeline_id)
    assert daily_metrics_task() == {"days": 31, "changes": 0}
    with engine.begin() as connection:
        connection.execute(text("UPDATE pipeline_execution SET inserts = 0"))
    assert await _inserts(client) == _by_day(INSERTS)


async def test_a_changed_day_is_summed_from_its_first_start_to_its_last(
    client: httpx.AsyncClient, engine: Engine, pipeline_id: int
) -> None:
    runs = _add_runs(engine, pipeline_id, ended=False)
    daily_metrics_task()
    for execution_id, inserts in zip(runs, RUNS.values(), strict=True):
        await end_run(client, execution_id, noon(0), inserts=inserts)
    assert _noted(engine) == [3, 2, 1]
    assert await _inserts(client) == _by_day(INSERTS)

    assert daily_metrics_task() == {"days": 0, "changes": 3}
    with engine.begin() as connection:
        connection.execute(text("UPDATE pipeline_execution SET inserts = 0"))
    assert await _inserts(client) == _by_day(INSERTS)


@pytest.mark.parametrize("summed", [False, True])
async def test_a_report_begins_with_the_first_start_of_its_first_day(
    client: httpx.AsyncClient, engine: Engine, pipeline_id: int, summed: bool
) -> None:
    _add_runs(engine, pipeline_id)
    if summed:
        daily_metrics_task()
    assert await _inserts(client, days=3) == _by_day({2: INSERTS[2], 1: INSERTS[1]})


@pytest.mark.parametrize(
    ("after_midnight", "over"),
    [
        (timedelta(0), 2),
        (timedelta(hours=1) - MICROSECOND, 2),
        (timedelta(hours=1), 1),
        (timedelta(days=1) - MICROSECOND, 1),
        (timedelta(days=1, hours=1) - MICROSECOND, 1),
        (timedelta(days=1, hours=1), 0),
    ],
)
def test_a_day_is_over_for_the_sums_an_hour_after_it_ended(
    engine: Engine, clock: DatabaseClock, after_midnight: timedelta, over: int
) -> None:
    clock.set(TODAY + after_midnight)
    with engine.begin() as connection:
        watch_past_days(connection)
        watched_before = connection.scalar(text("SELECT watched_before FROM daily_pipeline_metric_progress"))
    assert watched_before == day(over - 1).date()


async def test_in_the_hour_after_midnight_runs_of_yesterday_count_though_it_is_not_summed(
    client: httpx.AsyncClient, engine: Engine, clock: DatabaseClock
) -> None:
    pipeline_id = await make_pipeline(client)
    before = await start_run(client, pipeline_id, noon(1))
    clock.set(TODAY + timedelta(minutes=30))

    late = await start_run(client, pipeline_id, TODAY - MICROSECOND)
    for execution_id in (before, late):
        await end_run(client, execution_id, clock.now, inserts=1)
    assert daily_metrics_task() == {"days": 31, "changes": 0}
    assert _noted(engine) == [1]
    await check_report(client, engine)

    clock.set(TODAY + timedelta(hours=1) - MICROSECOND)
    assert daily_metrics_task() == {"days": 0, "changes": 0}
    await check_report(client, engine)

    clock.set(TODAY + timedelta(hours=1))
    assert daily_metrics_task() == {"days": 1, "changes": 1}
    assert _noted(engine) == []
    await check_report(client, engine)
    assert await _inserts(client) == _by_day({1: 2})


@pytest.mark.parametrize(("before_midnight", "noted"), [(timedelta(0), []), (MICROSECOND, [1])])
async def test_a_change_is_noted_for_runs_that_started_before_midnight(
    client: httpx.AsyncClient, engine: Engine, clock: DatabaseClock, before_midnight: timedelta, noted: list[int]
) -> None:
    clock.set(TODAY)
    execution_id = await start_run(client, await make_pipeline(client), TODAY - before_midnight)
    assert _noted(engine) == noted
    await end_run(client, execution_id, TODAY + MICROSECOND)
    assert _noted(engine) == noted


async def test_a_run_that_ends_after_midnight_is_noted_when_it_ends(
    client: httpx.AsyncClient, engine: Engine, clock: DatabaseClock
) -> None:
    clock.set(TODAY - MICROSECOND)
    pipeline_id = await make_pipeline(client)
    execution_id = await start_run(client, pipeline_id, clock.now)
    assert _noted(engine) == []
    clock.set(TODAY)
    await end_run(client, execution_id, clock.now, inserts=5)
    assert _noted(engine) == [1]
    assert await _inserts(client) == _by_day({1: 5})
