"""Every pipeline at a glance, and since when something is wrong with one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago, change_pipeline
from watcher_server.anomalies.models import AnomalyDetectionResult
from watcher_server.database.engine import create_query_engine
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.pipelines.board import Board, BoardRow, BoardView, take_board
from watcher_server.pipelines.troubles import Trouble, find_troubles
from watcher_server.schedules.models import MissedRunLog
from watcher_server.settings import get_settings
from watcher_server.timeliness.models import TimelinessExecutionLog


@pytest.fixture
async def query_engine(engine: Engine) -> AsyncIterator[AsyncEngine]:
    assert engine
    query_engine = create_query_engine(get_settings())
    yield query_engine
    await query_engine.dispose()


@pytest.fixture
async def board(query_engine: AsyncEngine) -> AsyncIterator[Board]:
    board = Board(query_engine)
    yield board
    await board.close()


async def _row(board: Board, name: str = "orders") -> BoardRow:
    board.forget()
    return next(row for row in (await board.read()).rows if row.name == name)


async def _trouble(query_engine: AsyncEngine, pipeline_id: int, condition: str) -> Trouble:
    async with AsyncSession(query_engine) as session, session.begin():
        return (await find_troubles(session, [pipeline_id]))[pipeline_id][condition]


async def test_one_that_never_ran_is_unknown_and_one_that_did_is_ok(board: Board, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    assert (await _row(board)).status == "unknown"
    with engine.begin() as connection:
        add_run(connection, pipeline, duration_seconds=300)
    row = await _row(board)
    assert (row.status, row.conditions, row.last_seconds) == ("ok", frozenset({"ok"}), 300)


async def test_everything_that_holds_is_counted_and_the_worst_is_the_status(board: Board, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, freshness_number=1, freshness_datepart="hour")
        add_run(connection, pipeline, completed_successfully=False)
        connection.execute(
            insert(FreshnessPipelineLog).values(
                pipeline_id=pipeline, freshness_number=1, freshness_datepart="hour", used_child_config=True
            )
        )
        add_run(connection, pipeline, end_date=None, start_date=ago(minutes=1))
    row = await _row(board)
    assert row.status == "failed"
    assert row.conditions == {"failed", "stale", "running"}
    view = await board.read()
    assert [view.count(word) for word in ("failed", "stale", "running", "missed")] == [1, 1, 1, 0]


async def test_a_paused_pipeline_is_paused_whatever_else_holds(board: Board, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, active=False)
        add_run(connection, pipeline, completed_successfully=False)
    assert (await _row(board)).status == "paused"
    assert (await board.read()).count("failed") == 0


async def test_an_overdue_run_is_late_and_so_is_one_that_has_not_begun(board: Board, engine: Engine) -> None:
    with engine.begin() as connection:
        running = add_pipeline(connection, "running")
        run = add_run(connection, running, end_date=None, start_date=ago(hours=2))
        log = {"timely_number": 1, "timely_datepart": "hour", "used_child_config": True, "execution_status": "running"}
        connection.execute(
            insert(TimelinessExecutionLog).values(
                pipeline_execution_id=run, pipeline_id=running, seconds_threshold=3600, **log
            )
        )
        waited = add_pipeline(connection, "waited for", schedule="* * * * *", schedule_grace_minutes=30)
        change_pipeline(connection, waited, expected_next_run=ago(minutes=3))
    assert (await _row(board, "running")).conditions == {"overdue", "late", "running"}
    assert (await _row(board, "waited for")).status == "late"
    assert (await board.read()).count("late") == 2


@pytest.mark.parametrize(
    ("metadata", "tags"),
    [
        ({"tags": ["nightly", "sales", "nightly"]}, ("nightly", "sales")),
        ({"tags": "nightly"}, ("nightly",)),
        ({"tags": ["a", 1, None, {"b": 2}]}, ("a",)),
        ({"tags": {"a": "b"}}, ()),
        ({"owner": "me"}, ()),
        (None, ()),
    ],
)
async def test_tags_are_the_texts_in_the_metadata(board: Board, engine: Engine, metadata: Any, tags: Any) -> None:
    with engine.begin() as connection:
        add_pipeline(connection, pipeline_metadata=metadata)
    assert (await _row(board)).tags == tags


async def test_a_deadline_past_the_calendar_is_none(board: Board, engine: Engine) -> None:
    with engine.begin() as connection:
        add_pipeline(connection, freshness_number=2_000_000_000, freshness_datepart="year")
        add_pipeline(connection, "far", freshness_number=9_000, freshness_datepart="year")
    assert (await _row(board)).stale_at is None
    assert (await _row(board, "far")).stale_at is None


async def test_what_changed_is_seen_at_once_by_whoever_forgets(board: Board, engine: Engine) -> None:
    assert (await board.read()).rows == ()
    with engine.begin() as connection:
        add_pipeline(connection)
    assert (await board.read()).rows == ()
    board.forget()
    assert len((await board.read()).rows) == 1


async def test_many_who_look_at_once_share_one_view(board: Board) -> None:
    views = await asyncio.gather(*(board.read() for _ in range(20)))
    assert len({id(view) for view in views}) <= 2


async def test_failing_since_the_first_failure_after_the_last_success(
    query_engine: AsyncEngine, engine: Engine
) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_run(connection, pipeline, end_date=ago(hours=9), completed_successfully=False)
        add_run(connection, pipeline, end_date=ago(hours=8))
        first = ago(hours=7)
        add_run(connection, pipeline, start_date=first, end_date=ago(hours=6), completed_successfully=False)
        latest = add_run(connection, pipeline, end_date=ago(hours=2), completed_successfully=False)
        add_run(connection, pipeline, start_date=ago(minutes=1), end_date=None)
    trouble = await _trouble(query_engine, pipeline, "failed")
    assert (trouble.since, trouble.count, trouble.execution_id) == (first, 2, latest)


async def test_missed_since_the_first_run_that_did_not_come(query_engine: AsyncEngine, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, schedule="0 * * * *")
        add_run(connection, pipeline, start_date=ago(hours=5))
        moments = [ago(hours=hours) for hours in (6, 3, 2)]
        for moment in moments:
            _add_missed(connection, pipeline, moment)
    trouble = await _trouble(query_engine, pipeline, "missed")
    assert (trouble.since, trouble.count) == (moments[1], 2)


def _add_missed(connection: Connection, pipeline: int, moment: Any) -> None:
    schedule = {"schedule": "0 * * * *", "schedule_timezone": "UTC", "schedule_grace_minutes": 10}
    connection.execute(insert(MissedRunLog).values(pipeline_id=pipeline, expected_at=moment, **schedule))


async def test_overdue_since_the_threshold_and_stale_since_the_deadline(
    query_engine: AsyncEngine, engine: Engine
) -> None:
    began, wrote = ago(hours=3), ago(days=3)
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, freshness_number=1, freshness_datepart="day", last_target_insert=wrote)
        run = add_run(connection, pipeline, start_date=began, end_date=None)
        log = {"timely_number": 1, "timely_datepart": "hour", "used_child_config": True, "execution_status": "running"}
        connection.execute(
            insert(TimelinessExecutionLog).values(
                pipeline_execution_id=run, pipeline_id=pipeline, seconds_threshold=3600, **log
            )
        )
    overdue = await _trouble(query_engine, pipeline, "overdue")
    assert (overdue.since, overdue.execution_id) == (began + timedelta(hours=1), run)
    assert (await _trouble(query_engine, pipeline, "stale")).since == wrote + timedelta(days=1)


async def test_anomalous_names_the_metrics_of_the_latest_run(query_engine: AsyncEngine, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        run = add_history(connection, pipeline, [5], before=ago(hours=1), anomaly_flags={"inserts": True})[0]
        for metric in ("inserts", "total_rows"):
            numbers = dict.fromkeys(
                ("violation_value", "z_score", "historical_mean", "historical_std", "lower_bound", "upper_bound"), 1.0
            )
            connection.execute(
                insert(AnomalyDetectionResult).values(
                    rule_id=add_rule(connection, pipeline, metric),
                    pipeline_execution_id=run,
                    metric_field=metric,
                    z_threshold=3.0,
                    execution_count=30,
                    context={},
                    **numbers,
                )
            )
    trouble = await _trouble(query_engine, pipeline, "anomalous")
    assert (trouble.detail, trouble.execution_id) == ("inserts, total_rows", run)


async def test_a_pipeline_without_trouble_has_none(query_engine: AsyncEngine, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    for condition in ("failed", "missed", "overdue", "late", "stale", "anomalous", "running"):
        assert (await _trouble(query_engine, pipeline, condition)).since is None


async def test_what_is_changed_while_the_board_is_read_is_on_the_next_one(
    board: Board, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, "before")
    read, go_on = asyncio.Event(), asyncio.Event()

    async def take_slowly(session: AsyncSession) -> BoardView:
        view = await take_board(session)
        read.set()
        await go_on.wait()
        return view

    monkeypatch.setattr("watcher_server.pipelines.board.take_board", take_slowly)
    first = asyncio.create_task(board.read())
    await read.wait()
    with engine.begin() as connection:
        change_pipeline(connection, pipeline, name="after")
    board.forget()
    go_on.set()
    await first

    assert [row.name for row in (await board.read()).rows] == ["after"]
