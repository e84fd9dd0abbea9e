"""Every pipeline at a glance, and since when something is wrong with one."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from tests.incidents.records import add_incident
from tests.support.checks import run_checks
from tests.support.rows import (
    add_anomaly,
    add_history,
    add_pipeline,
    add_run,
    add_type,
    ago,
    change_pipeline,
    now,
)
from watcher_server.database.engine import create_query_engine
from watcher_server.pipelines.board import (
    Board,
    Choices,
    Chosen,
    Wanted,
    choose_pipelines,
    count_statuses,
    read_active_since,
    read_board,
    read_choices,
)
from watcher_server.pipelines.findings import Finding, read_findings
from watcher_server.pipelines.status import Condition, Status, read_conditions
from watcher_server.settings import get_settings


@pytest.fixture
async def query_engine(engine: Engine) -> AsyncIterator[AsyncEngine]:
    assert engine
    query_engine = create_query_engine(get_settings())
    yield query_engine
    await query_engine.dispose()


@pytest.fixture
async def session(query_engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """Each statement sees what was committed before it."""
    async with AsyncSession(query_engine) as session:
        yield session


async def _condition(session: AsyncSession, pipeline_id: int) -> Condition:
    return (await read_conditions(session, [pipeline_id]))[pipeline_id]


async def _choose(session: AsyncSession, **wanted: Any) -> Chosen:
    where: dict[str, Any] = {"order": "status", "page": 1, "size": 2}
    where |= {name: wanted.pop(name) for name in list(wanted) if name in where}
    return await choose_pipelines(session, Wanted(**wanted), **where)


async def _finding(session: AsyncSession, pipeline_id: int, word: str) -> Finding:
    return (await read_findings(session, [pipeline_id]))[pipeline_id][word]


async def test_one_that_never_ran_is_unknown_and_one_that_did_is_ok(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    assert await _condition(session, pipeline) == Condition(Status.UNKNOWN)
    with engine.begin() as connection:
        add_run(connection, pipeline)
    assert await _condition(session, pipeline) == Condition(Status.OK)


async def test_one_that_wrote_has_run_though_its_runs_are_kept_no_longer(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, last_target_insert=ago(days=400))
    assert (await _condition(session, pipeline)).status == "ok"


async def test_the_worst_is_the_status_and_the_rest_holds_too(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_run(connection, pipeline, end_date=None, start_date=ago(minutes=1))
        for kind in ("anomalous", "stale", "failing"):
            add_incident(connection, pipeline, kind)
        add_incident(connection, pipeline, "missed", resolved_at=now())
    assert await _condition(session, pipeline) == Condition(Status.FAILING, ("stale", "anomalous", "running"))
    board = await read_board(session, 9)
    assert board.counts == {"failing": 1, "stale": 1, "anomalous": 1, "running": 1}
    assert (board.attention, board.total, [each.status for each in board.wrong]) == (1, 1, ["failing"])


async def test_what_somebody_has_acknowledged_is_still_wrong(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_incident(connection, pipeline, "late", state="acknowledged")
    assert (await _condition(session, pipeline)).status == "late"


async def test_a_paused_pipeline_is_paused_whatever_else_holds(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, active=False)
        add_run(connection, pipeline, end_date=None)
        add_incident(connection, pipeline, "failing")
    assert await _condition(session, pipeline) == Condition(Status.PAUSED)
    assert await read_board(session, 9) == Board([], {}, 0, 1)
    with engine.connect() as connection:
        counted = count_statuses(connection)
    assert (counted["paused"], sum(counted.values())) == (1, 1)


async def test_a_run_that_is_due_stands_beside_the_status(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, schedule="* * * * *", schedule_grace_minutes=30)
        change_pipeline(connection, pipeline, expected_next_run=ago(minutes=3))
    assert await _condition(session, pipeline) == Condition(Status.UNKNOWN, ("due",))
    with engine.begin() as connection:
        add_incident(connection, pipeline, "missed")
    assert await _condition(session, pipeline) == Condition(Status.MISSED)


async def test_the_worst_come_first_then_by_name(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        for name, kind in (("b", "stale"), ("a", "stale"), ("c", "failing"), ("d", "anomalous")):
            add_incident(connection, add_pipeline(connection, name), kind)
        add_run(connection, add_pipeline(connection, "e"), end_date=None)
        add_incident(connection, None, "queue", subject="celery")
    board = await read_board(session, 3)
    assert [each.name for each in board.wrong] == ["c", "a", "b"]
    assert (board.attention, board.total, board.counts["running"]) == (4, 5, 1)


async def test_the_lanes_are_the_worst_then_who_began_last(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        for name, kind, hours in (("bad", "failing", 9), ("bad long ago", "failing", 99), ("late", "late", 3)):
            pipeline = add_pipeline(connection, name)
            add_run(connection, pipeline, start_date=ago(hours=hours))
            add_incident(connection, pipeline, kind)
        add_incident(connection, add_pipeline(connection, "missed"), "missed")
        for name, hours in (("first", 8), ("then", 2), ("last week", 200)):
            add_run(connection, add_pipeline(connection, name), start_date=ago(hours=hours))
        add_run(connection, add_pipeline(connection, "paused", active=False), start_date=ago(hours=1))
        add_run(connection, add_pipeline(connection, "goes on"), start_date=ago(hours=100), end_date=None)
    wrong = [each.id for each in (await read_board(session, 9)).wrong]
    lanes = [each.name for each in await read_active_since(session, wrong, ago(hours=24), 9)]
    assert lanes == ["bad", "missed", "late", "then", "first", "goes on"]
    assert [each.name for each in await read_active_since(session, wrong, ago(hours=24), 2)] == lanes[:2]


@pytest.mark.parametrize(
    ("metadata", "tags"),
    [
        ({"tags": ["nightly", "sales", "nightly"]}, ["nightly", "sales"]),
        ({"tags": "nightly"}, ["nightly"]),
        ({"tags": ["a", 1, None, {"b": 2}]}, ["a"]),
        ({"tags": {"a": "b"}}, []),
        ({"owner": "me"}, []),
        (None, []),
    ],
)
async def test_tags_are_the_texts_in_the_metadata(
    session: AsyncSession, engine: Engine, metadata: Any, tags: Any
) -> None:
    with engine.begin() as connection:
        add_pipeline(connection, pipeline_metadata=metadata)
        add_type(connection, "a type without pipelines")
    assert await read_choices(session) == Choices(1, ["extraction"], tags)
    for tag in tags:
        assert (await _choose(session, tag=tag)).ids == [1]
    assert (await _choose(session, tag="b")).ids == []


async def test_a_page_has_some_of_those_that_fit_and_the_counts_are_of_all(
    session: AsyncSession, engine: Engine
) -> None:
    with engine.begin() as connection:
        for name in ("orders 1", "orders 2", "orders 3", "prices"):
            add_pipeline(connection, name, mute_freshness_check=name == "orders 2")
        add_incident(connection, 3, "failing")
    assert await _choose(session, parts=["ord", "ers"]) == Chosen(
        [3, 1], 1, 3, 3, {"failing": 1, "attention": 1, "unknown": 2, "muted": 1}
    )
    assert await _choose(session, parts=["orders"], page=9) == Chosen(
        [2], 2, 3, 3, {"failing": 1, "attention": 1, "unknown": 2, "muted": 1}
    )
    found = await _choose(session, parts=["orders"], word="muted")
    assert (found.ids, found.total, found.in_any_state) == ([2], 1, 3)
    assert await _choose(session, parts=["%"]) == Chosen([], 1, 0, 0, {})


async def test_a_deadline_past_the_calendar_is_none(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        for name, number in (("endless", 2_000_000_000), ("far", 9_000), ("soon", 1)):
            add_pipeline(connection, name, freshness_number=number, freshness_datepart="year")
    assert (await _choose(session, order="next_due", size=3)).ids == [3, 1, 2]


async def test_failing_since_the_first_failure_after_the_last_success(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_run(connection, pipeline, end_date=ago(hours=9), completed_successfully=False)
        success = ago(hours=8)
        add_run(connection, pipeline, end_date=success)
        since = ago(hours=6)
        first = add_run(connection, pipeline, start_date=ago(hours=7), end_date=since, completed_successfully=False)
        latest = add_run(
            connection,
            pipeline,
            end_date=ago(hours=2),
            completed_successfully=False,
            execution_metadata={"error": "  no disk\n"},
        )
        add_run(connection, pipeline, start_date=ago(minutes=1), end_date=None)
    run_checks(engine)
    finding = await _finding(session, pipeline, "failing")
    assert (finding.since, finding.count, finding.execution_id) == (since, 2, latest)
    assert (finding.first_execution_id, finding.last_success, finding.error) == (first, success, "no disk")


async def test_missed_since_the_first_run_that_did_not_come(session: AsyncSession, engine: Engine) -> None:
    full_hour = now().replace(minute=0, second=0, microsecond=0)
    moments = [full_hour - timedelta(hours=hours) for hours in (3, 2, 1)]
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, schedule="0 * * * *", schedule_grace_minutes=60)
        change_pipeline(connection, pipeline, expected_next_run=moments[0])
        add_run(connection, pipeline, end_date=ago(hours=5))
    run_checks(engine)
    finding = await _finding(session, pipeline, "missed")
    assert (finding.since, finding.count, finding.at) == (moments[0], 3, moments[-1])


async def test_late_since_the_threshold_and_stale_since_the_deadline(session: AsyncSession, engine: Engine) -> None:
    began, wrote = ago(hours=3), ago(days=3)
    daily: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "day", "last_target_insert": wrote}
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, timeliness_number=1, timeliness_datepart="hour", **daily)
        run = add_run(connection, pipeline, start_date=began, end_date=None)
    run_checks(engine)
    late = await _finding(session, pipeline, "late")
    assert (late.since, late.execution_id, late.at) == (began + timedelta(hours=1), run, began)
    assert (await _finding(session, pipeline, "stale")).since == wrote + timedelta(days=1)


async def test_anomalous_names_the_metrics_of_the_latest_run(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        run = add_history(connection, pipeline, [5], before=ago(hours=1))[0]
        for metric in ("inserts", "total_rows"):
            add_anomaly(connection, pipeline, run, metric)
        add_incident(connection, pipeline, "anomalous", execution_id=run)
    finding = await _finding(session, pipeline, "anomalous")
    assert (finding.metric_names, finding.execution_id) == ("inserts, total rows", run)


async def test_running_says_how_long_the_last_success_took(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_run(connection, pipeline, duration_seconds=300)
        run = add_run(connection, pipeline, start_date=ago(minutes=1), end_date=None)
    finding = await _finding(session, pipeline, "running")
    assert (finding.execution_id, finding.usual_seconds) == (run, 300)


async def test_a_pipeline_without_trouble_has_none(session: AsyncSession, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    assert list((await read_findings(session, [pipeline]))[pipeline]) == ["due"]
