"""A report has the figures of the executions, whichever of its days are summed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.reporting.model import MICROSECOND, TODAY, check_report, day, end_run, noon, reported, start_run
from tests.support.clock import DatabaseClock
from tests.support.emptying import empty_tables
from tests.support.factories import make_pipeline
from tests.support.live import wait_until
from tests.support.rows import add_pipeline, add_run
from watcher_server.executions.statements import END_RARE_STATEMENT, START_RARE_STATEMENT
from watcher_server.reporting.sums import find_writers, sum_changes, sum_next_day, watch_past_days
from watcher_server.reporting.tasks import daily_metrics_task

Session = psycopg.AsyncConnection[tuple[Any, ...]]


def _table(engine: Engine, name: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0)


def _misleading(engine: Engine) -> None:
    """Falsify the sums, so that a report shows which days it takes from them."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE daily_pipeline_metric SET total_executions = 99"))


async def test_days_that_are_over_are_summed_and_today_is_not(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        for days_ago in (0, 2, 3, 20):
            add_run(connection, pipeline_id, start_date=noon(days_ago), end_date=noon(days_ago) + timedelta(hours=1))

    done = daily_metrics_task()

    assert (done["days"], done["changes"]) == (31, 0)
    assert _table(engine, "daily_pipeline_metric") == 3
    await check_report(client, engine)
    _misleading(engine)
    assert [day["total_executions"] for day in await reported(client)] == [1, 99, 99, 99]


async def test_summing_again_changes_nothing(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_run(connection, add_pipeline(connection), start_date=noon(3), end_date=noon(2))
    daily_metrics_task()

    assert daily_metrics_task() == {"days": 0, "changes": 0}
    await check_report(client, engine)


async def test_no_day_is_summed_that_no_report_shows(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_run(connection, add_pipeline(connection), start_date=noon(400), end_date=noon(399))

    assert daily_metrics_task()["days"] == 31
    assert _table(engine, "daily_pipeline_metric") == 0
    assert await reported(client) == []


async def test_days_that_workers_slept_through_are_caught_up(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_run(connection, add_pipeline(connection), start_date=noon(3), end_date=noon(2))
    daily_metrics_task()
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE daily_pipeline_metric_progress SET watched_before = watched_before - 5, "
                "summed_before = summed_before - 5"
            )
        )
        connection.execute(text("DELETE FROM daily_pipeline_metric"))

    assert daily_metrics_task()["days"] == 5
    assert _table(engine, "daily_pipeline_metric") == 1
    await check_report(client, engine)


async def test_after_the_clock_was_set_back_days_are_summed_again(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    await start_run(client, pipeline_id, noon(0))
    with engine.begin() as connection:
        watch_past_days(connection)
        connection.execute(text("UPDATE daily_pipeline_metric_progress SET summed_before = :ahead"), {"ahead": day(-2)})
        connection.execute(
            text(
                "INSERT INTO daily_pipeline_metric (date_recorded, pipeline_id, total_executions,"
                " ended_executions, failed_executions, measured_durations) VALUES (:today, :id, 99, 0, 0, 0)"
            ),
            {"id": pipeline_id, "today": TODAY},
        )
    await check_report(client, engine)

    daily_metrics_task()

    with engine.connect() as connection:
        ahead = connection.scalar(text("SELECT summed_before > watched_before FROM daily_pipeline_metric_progress"))
    assert not ahead


async def test_a_run_of_today_notes_nothing(client: httpx.AsyncClient, engine: Engine) -> None:
    daily_metrics_task()
    execution_id = (
        await client.post("/start_pipeline_execution", json={"pipeline_id": await make_pipeline(client)})
    ).json()["id"]
    await end_run(client, execution_id, noon(0) + timedelta(seconds=1))

    assert _table(engine, "daily_pipeline_metric_change") == 0
    await check_report(client, engine)


async def test_a_run_of_a_summed_day_counts_at_once(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    await start_run(client, pipeline_id, noon(5))
    daily_metrics_task()

    late = await start_run(client, pipeline_id, noon(5))
    await check_report(client, engine)
    await end_run(client, late, noon(4), inserts=7, total_rows=7)
    await check_report(client, engine)

    assert daily_metrics_task() == {"days": 0, "changes": 1}
    assert _table(engine, "daily_pipeline_metric_change") == 0
    await check_report(client, engine)


async def test_a_run_that_goes_on_beyond_its_day_counts_when_it_ends(client: httpx.AsyncClient, engine: Engine) -> None:
    execution_id = await start_run(client, await make_pipeline(client), noon(2))
    daily_metrics_task()

    await end_run(client, execution_id, noon(0), inserts=7, total_rows=7)

    assert [day["daily_inserts"] for day in await reported(client)] == [7]
    daily_metrics_task()
    await check_report(client, engine)


async def test_a_run_with_a_parent_of_a_summed_day_is_stored_as_any(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    parent = await start_run(client, pipeline_id, noon(5))
    daily_metrics_task()

    body = {"pipeline_id": pipeline_id, "parent_id": parent, "start_date": noon(5).isoformat()}
    child = (await client.post("/start_pipeline_execution", json=body)).json()["id"]
    await end_run(client, child, noon(4))

    with engine.connect() as connection:
        tasks = connection.scalars(text("SELECT task_name FROM outbox ORDER BY id")).all()
        closure = connection.scalar(text("SELECT count(*) FROM pipeline_execution_closure"))
    assert tasks == ["pipeline_execution_closure_maintain_task"]
    assert closure == 2


async def test_refreshing_has_the_days_summed(client: httpx.AsyncClient, engine: Engine) -> None:
    assert (await client.post("/reporting/refresh")).json()["status"] == "success"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT task_name, queue FROM outbox")).all() == [
            ("daily_metrics_task", "scheduled")
        ]


# When runs start: at both ends of a day, and in its middle.
_HOURS = st.sampled_from([timedelta(0), timedelta(hours=12), timedelta(days=1) - MICROSECOND])
_STEP = st.one_of(
    st.tuples(st.just("start"), st.integers(0, 1), st.sampled_from([0, 1, 1, 2, 3, 28, 29, 30, 31]), _HOURS),
    st.tuples(st.just("end"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([1, 29, 31, 60, 11 * 60, 24 * 60])),
    st.tuples(st.just("sum")),
    st.tuples(st.just("watch")),
)
_WAIT_UNTIL_MIDNIGHT = ("wait", 12 * 60)


@given(steps=st.lists(_STEP, min_size=3, max_size=14), rows=st.integers(0, 2**63 - 1))
# In the hour after midnight yesterday is over and not summed yet.
@example(
    steps=[
        ("start", 0, 0, timedelta(days=1) - MICROSECOND),
        _WAIT_UNTIL_MIDNIGHT,
        ("start", 0, 1, timedelta(0)),
        ("sum",),
        ("end", 0, True),
        ("wait", 60),
        ("end", 0, False),
        ("sum",),
    ],
    rows=40,
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_reported_and_summed_in_between_the_figures_are_those_of_the_executions(
    client: httpx.AsyncClient, engine: Engine, clock: DatabaseClock, steps: list[tuple[Any, ...]], rows: int
) -> None:
    empty_tables(engine)
    clock.set(noon(0))
    pipelines = [await make_pipeline(client, name) for name in ("b", "a")]
    running: list[int] = []
    for step in steps:
        match step:
            case ("start", chosen, days_ago, hours):
                running.append(await start_run(client, pipelines[chosen], day(days_ago) + hours))
            case ("end", chosen, success) if running:
                execution_id = running.pop(chosen % len(running))
                # After every start, the last of today included.
                await end_run(client, execution_id, day(-1), completed_successfully=success, total_rows=rows // 20)
            case ("wait", minutes):
                clock.advance(minutes=minutes)
            case ("sum",):
                daily_metrics_task()
            case ("watch",):
                with engine.begin() as connection:
                    watch_past_days(connection)
        await check_report(client, engine, days=30)


@asynccontextmanager
async def _transaction(database_url: str) -> AsyncIterator[Session]:
    """A session whose writes commit when the block ends."""
    async with await psycopg.AsyncConnection.connect(database_url) as session:
        yield session


_NO_KEY = dict.fromkeys(("caller", "key", "fingerprint"))
_NOTHING = dict.fromkeys(("parent_id", "watermark", "next_watermark", "context")) | _NO_KEY | {"backfill": False}
_NO_COUNTS = dict.fromkeys(("updates", "soft_deletes", "execution_metadata")) | {"nothing_to_do": False}


# The day was not over yet when this began, so it notes nothing.
_BEGUN_BEFORE = """
INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded) VALUES (%s, %s, %s, 12)
"""


async def _write_start(session: Session, pipeline_id: int, days_ago: int) -> None:
    parameters = {**_NOTHING, "pipeline_id": pipeline_id, "start_date": noon(days_ago)}
    assert await (await session.execute(START_RARE_STATEMENT, parameters)).fetchone()


async def _write_end(session: Session, execution_id: int) -> None:
    parameters = {"id": execution_id, "end_date": noon(0), "completed_successfully": True, "context": "{}"}
    cursor = await session.execute(END_RARE_STATEMENT, {**_NO_COUNTS, **parameters, "inserts": 7, "total_rows": 7})
    assert await cursor.fetchone()


async def _until(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what, 10)


async def _until_blocked(engine: Engine) -> None:
    # Other test workers wait for locks too, in databases of their own.
    blocked = text(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )

    def is_blocked() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(blocked))

    await _until(is_blocked, "a wait for the other transaction")


class TestAtOnce:
    """Writers and sums that overlap, each overlap held open by an uncommitted transaction."""

    @pytest.mark.parametrize("noted", [False, True])
    async def test_a_run_that_commits_after_the_sum_is_not_overlooked(
        self, client: httpx.AsyncClient, engine: Engine, clock_database_url: str, noted: bool
    ) -> None:
        pipeline_id = await make_pipeline(client)
        running = await start_run(client, pipeline_id, noon(5))
        daily_metrics_task()
        if noted:
            await start_run(client, pipeline_id, noon(5))

        async with _transaction(clock_database_url) as session:
            await _write_end(session, running)
            # With the note there, it is the sum that waits.
            summing = asyncio.create_task(asyncio.to_thread(daily_metrics_task))
            if noted:
                await _until_blocked(engine)
            else:
                await summing
            await check_report(client, engine)
        await summing

        await check_report(client, engine)
        daily_metrics_task()
        await check_report(client, engine)
        assert _table(engine, "daily_pipeline_metric_change") == 0

    async def test_a_run_that_comes_while_its_day_is_summed_waits_and_notes_it_anew(
        self, client: httpx.AsyncClient, engine: Engine
    ) -> None:
        pipeline_id = await make_pipeline(client)
        daily_metrics_task()
        running = await start_run(client, pipeline_id, noon(5))
        with engine.begin() as connection:
            assert sum_changes(connection, 10) == 1
            ending = asyncio.create_task(end_run(client, running, noon(0), inserts=7))
            await _until_blocked(engine)
        await ending

        assert _table(engine, "daily_pipeline_metric_change") == 1
        await check_report(client, engine)

    async def test_no_day_is_summed_while_a_run_is_written_that_may_have_begun_before_it_was_over(
        self, client: httpx.AsyncClient, engine: Engine, clock_database_url: str
    ) -> None:
        pipeline_id = await make_pipeline(client)
        async with _transaction(clock_database_url) as session:
            await session.execute(_BEGUN_BEFORE, [pipeline_id, noon(5), noon(5).date()])
            summing = asyncio.create_task(asyncio.to_thread(daily_metrics_task))
            await _until(lambda: _watched(engine) is not None, "the first step")
            await asyncio.sleep(0.3)
            assert _table(engine, "daily_pipeline_metric") == 0
            assert not summing.done()
        assert (await summing)["days"] == 31

        await check_report(client, engine)
        assert (await reported(client))[0]["total_executions"] == 1

    async def test_who_begins_to_write_later_is_not_waited_for(
        self, client: httpx.AsyncClient, engine: Engine, clock_database_url: str
    ) -> None:
        pipeline_id = await make_pipeline(client)
        with engine.begin() as connection:
            watch_past_days(connection)
        with engine.connect() as connection:
            assert find_writers(connection) == []
        async with _transaction(clock_database_url) as session:
            await _write_start(session, pipeline_id, 5)
            with engine.begin() as connection:
                assert len(find_writers(connection)) == 1
                assert find_writers(connection, []) == []
                assert sum_next_day(connection) is not None
        daily_metrics_task()
        await check_report(client, engine)

    async def test_two_sums_at_once_do_the_work_once(self, client: httpx.AsyncClient, engine: Engine) -> None:
        await start_run(client, await make_pipeline(client), noon(5))
        both = await asyncio.gather(*(asyncio.to_thread(daily_metrics_task) for _ in range(2)))
        assert sum(done["days"] for done in both) == 31
        await check_report(client, engine)

    @pytest.mark.parametrize(("at", "kept"), [(timedelta(minutes=30), 3), (timedelta(hours=1), 0)])
    async def test_reports_stay_exact_while_runs_of_the_past_pour_in_and_are_summed(
        self, client: httpx.AsyncClient, engine: Engine, clock: DatabaseClock, at: timedelta, kept: int
    ) -> None:
        clock.set(TODAY + at)
        pipelines = [await make_pipeline(client, name) for name in ("a", "b", "c")]
        daily_metrics_task()
        stopping = asyncio.Event()

        async def sum_on() -> None:
            while not stopping.is_set():
                await asyncio.to_thread(daily_metrics_task)

        async def backfill(pipeline_id: int) -> None:
            for number in range(12):
                start = day(1 + number % 3) + (number % 2) * (timedelta(days=1) - MICROSECOND)
                execution_id = await start_run(client, pipeline_id, start)
                await end_run(client, execution_id, TODAY, inserts=number, total_rows=number)

        summing = asyncio.create_task(sum_on())
        await asyncio.gather(*(backfill(pipeline_id) for pipeline_id in pipelines for _ in range(4)))
        stopping.set()
        await summing

        await check_report(client, engine)
        daily_metrics_task()
        await check_report(client, engine)
        # In the hour after midnight yesterday is not summed, so its changes stay noted: one for each pipeline.
        assert _table(engine, "daily_pipeline_metric_change") == kept


def _watched(engine: Engine) -> date | None:
    with engine.connect() as connection:
        found: date | None = connection.scalar(text("SELECT watched_before FROM daily_pipeline_metric_progress"))
    return found
