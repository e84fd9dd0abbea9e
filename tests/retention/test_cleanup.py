"""Deleting what is older than the retention, and nothing else."""

import asyncio
from datetime import datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert, select, text

from tests.support.rows import add_pipeline, add_rule, add_run, ago, alerts, change_pipeline
from watcher_server.anomalies.models import AnomalyDetectionResult
from watcher_server.celery_tasks import freshness_check_task
from watcher_server.database.locks import CLEANUP_LOCK
from watcher_server.executions.models import PipelineExecution
from watcher_server.executions.tasks import maintain_closure
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.timeliness.models import TimelinessExecutionLog

NOTHING = {
    "total_pipeline_executions_deleted": 0,
    "total_timeliness_pipeline_execution_logs_deleted": 0,
    "total_anomaly_detection_results_deleted": 0,
    "total_pipeline_execution_closure_parent_deleted": 0,
    "total_pipeline_execution_closure_child_deleted": 0,
    "total_freshness_pipeline_logs_deleted": 0,
    "total_missed_run_logs_deleted": 0,
    "total_anomaly_events_deleted": 0,
    "total_alerts_deleted": 0,
    "total_incidents_deleted": 0,
    "total_daily_pipeline_metrics_deleted": 0,
    "total_daily_pipeline_metric_changes_deleted": 0,
    "total_dbt_artifacts_deleted": 0,
}
OLD, NEW = 100.0, 10.0


def _run(connection: Connection, days_ago: float = OLD, parent: int | None = None, *, running: bool = False) -> int:
    """An execution of the first pipeline with its closure; its id."""
    start = ago(days=days_ago)
    ended = None if running else start + timedelta(minutes=5)
    execution = add_run(connection, 1, start_date=start, end_date=ended, parent_id=parent)
    maintain_closure(connection, execution)
    return execution


async def _clean(client: httpx.AsyncClient, **body: Any) -> dict[str, int]:
    answer = await client.post("/log_cleanup", json={"retention_days": 90, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _left(engine: Engine) -> set[int]:
    with engine.begin() as connection:
        return set(connection.scalars(select(PipelineExecution.id)))


async def test_an_empty_watcher_has_nothing_to_delete(client: httpx.AsyncClient) -> None:
    assert await _clean(client) == NOTHING


async def test_what_is_old_goes_with_all_that_hangs_on_it_and_is_counted(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        rule = add_rule(connection, pipeline)
        for execution in (_run(connection, OLD), _run(connection, NEW)):
            _add_findings(connection, pipeline, rule, execution)

    assert await _clean(client) == {
        **NOTHING,
        "total_pipeline_executions_deleted": 1,
        "total_timeliness_pipeline_execution_logs_deleted": 1,
        "total_anomaly_detection_results_deleted": 1,
        "total_pipeline_execution_closure_parent_deleted": 1,
        "total_freshness_pipeline_logs_deleted": 1,
    }
    assert _left(engine) == {2}
    assert await _clean(client) == NOTHING


def _add_findings(connection: Connection, pipeline: int, rule: int, execution: int) -> None:
    names = ("violation_value", "z_score", "historical_mean", "historical_std", "z_threshold", "lower_bound")
    figures = dict.fromkeys((*names, "upper_bound", "execution_count"), 1)
    result = {"rule_id": rule, "pipeline_execution_id": execution, "metric_field": "inserts", "context": {}, **figures}
    connection.execute(insert(AnomalyDetectionResult).values(result))
    log = {"pipeline_execution_id": execution, "pipeline_id": pipeline, "execution_status": "completed"}
    threshold = {"timely_number": 1, "timely_datepart": "hour", "used_child_config": True}
    connection.execute(insert(TimelinessExecutionLog).values({**log, **threshold}))
    moment = ago(days=OLD if execution == 1 else NEW)
    stale = {"last_dml_timestamp": moment, "evaluated_at": moment, "freshness_number": 1, "freshness_datepart": "day"}
    connection.execute(insert(FreshnessPipelineLog).values(pipeline_id=pipeline, used_child_config=True, **stale))


async def test_age_counts_and_not_the_order_of_ids(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
        for days in (NEW, OLD, NEW, 91, 89, 5_000):
            _run(connection, days)
    assert (await _clean(client))["total_pipeline_executions_deleted"] == 3
    assert _left(engine) == {1, 3, 5}


async def test_what_still_runs_stays_and_so_do_its_ancestors(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
        root = _run(connection)
        middle = _run(connection, parent=root)
        running = _run(connection, parent=middle, running=True)
        finished = _run(connection, parent=middle)
        below = _run(connection, parent=finished)

    counts = await _clean(client)

    assert _left(engine) == {root, middle, running}
    assert counts["total_pipeline_executions_deleted"] == 2
    assert counts["total_pipeline_execution_closure_parent_deleted"] == 3
    assert counts["total_pipeline_execution_closure_child_deleted"] == 4
    with engine.begin() as connection:
        pairs = connection.execute(
            text("SELECT parent_execution_id, child_execution_id FROM pipeline_execution_closure")
        )
        assert {id_ for pair in pairs for id_ in pair} == {root, middle, running}
    assert below not in _left(engine)


@pytest.mark.parametrize("batch_size", [1, 3, 10_000])
async def test_a_tree_goes_whole_whatever_the_batch(client: httpx.AsyncClient, engine: Engine, batch_size: int) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
        parent = None
        for _ in range(12):
            parent = _run(connection, OLD, parent)
    counts = await _clean(client, batch_size=batch_size)
    assert counts["total_pipeline_executions_deleted"] == 12
    closure = ("total_pipeline_execution_closure_parent_deleted", "total_pipeline_execution_closure_child_deleted")
    assert sum(counts[name] for name in closure) == 12 * 13 // 2
    assert _left(engine) == set()


@pytest.mark.parametrize("seed", range(4))
async def test_exactly_the_old_ones_without_a_kept_descendant_go(
    client: httpx.AsyncClient, engine: Engine, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - a repeatable forest, no secret
    parents: dict[int, int | None] = {}
    own_reason_to_stay: set[int] = set()
    with engine.begin() as connection:
        add_pipeline(connection)
        for _ in range(60):
            parent = random.choice([None, *parents]) if parents else None
            days, running = random.choice([OLD, OLD + 50, OLD + 1, NEW]), random.random() < 0.05
            execution = _run(connection, days, parent, running=running)
            parents[execution] = parent
            if running or days == NEW:
                own_reason_to_stay.add(execution)
    expected: set[int] = set()
    for execution in own_reason_to_stay:
        ancestor: int | None = execution
        while ancestor is not None:
            expected.add(ancestor)
            ancestor = parents[ancestor]

    counts = await _clean(client, batch_size=random.choice([1, 5, 10_000]))

    assert _left(engine) == expected
    assert counts["total_pipeline_executions_deleted"] == 60 - len(expected)


async def test_a_second_cleanup_is_told_to_wait_and_locks_are_given_back(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CLEANUP_LOCK})
        answer = await client.post("/log_cleanup", json={"retention_days": 90})
    assert answer.status_code == 409
    assert answer.json() == {"detail": "Another cleanup is running: try again when it has finished."}
    assert await _clean(client) == NOTHING


async def test_cleanups_at_once_delete_each_row_once(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
        for _ in range(40):
            _run(connection)
    body = {"retention_days": 90, "batch_size": 2}
    answers = await asyncio.gather(*(client.post("/log_cleanup", json=body) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    deleted = [answer.json()["total_pipeline_executions_deleted"] for answer in answers if answer.status_code == 200]
    assert sum(deleted) == 40


async def test_a_row_that_somebody_holds_is_left_for_the_next_time(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
        held, _ = _run(connection), _run(connection)
    with engine.begin() as connection:
        connection.execute(text("SELECT FROM pipeline_execution WHERE id = :id FOR KEY SHARE"), {"id": held})
        assert (await _clean(client))["total_pipeline_executions_deleted"] == 1
    assert _left(engine) == {held}
    assert (await _clean(client))["total_pipeline_executions_deleted"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"retention_days": 89},
        {"retention_days": 10**9},
        {"retention_days": 10**30},
        {"retention_days": 90, "batch_size": 0},
        {"retention_days": 90, "batch_size": -1},
        {"retention_days": "soon"},
    ],
)
async def test_what_makes_no_sense_is_422(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post("/log_cleanup", json=body)).status_code == 422


@pytest.mark.parametrize("batch_size", [100_001, 10**30])
async def test_a_batch_that_is_too_large_is_cut_to_the_largest(
    client: httpx.AsyncClient, engine: Engine, batch_size: int
) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
        _run(connection)
    assert (await _clean(client, batch_size=batch_size))["total_pipeline_executions_deleted"] == 1


@pytest.mark.parametrize("last_write", [ago(days=200), None])
async def test_the_state_a_pipeline_is_still_in_stays_logged_and_is_not_alerted_again(
    client: httpx.AsyncClient, engine: Engine, last_write: datetime | None
) -> None:
    with engine.begin() as connection:
        daily: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "day"}
        pipeline = add_pipeline(connection, last_target_insert=last_write, created_at=ago(days=300), **daily)
    assert freshness_check_task()["new_stale_pipelines"] == 1
    with engine.begin() as connection:
        connection.execute(text("UPDATE freshness_pipeline_log SET evaluated_at = :old"), {"old": ago(days=OLD)})

    assert await _clean(client) == NOTHING
    assert freshness_check_task()["new_stale_pipelines"] == 0
    with engine.begin() as connection:
        assert len(alerts(connection)) == 1
        # It writes again: what was logged is history, and goes.
        change_pipeline(connection, pipeline, last_target_soft_delete=ago(hours=1))
    assert await _clean(client) == {**NOTHING, "total_freshness_pipeline_logs_deleted": 1}


async def test_a_state_since_a_look_that_found_nothing_stays_logged_too(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        daily: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "day"}
        pipeline = add_pipeline(connection, last_target_insert=ago(days=200), **daily)
        add_run(connection, pipeline, end_date=ago(days=2), nothing_to_do=True)
    assert freshness_check_task()["new_stale_pipelines"] == 1
    with engine.begin() as connection:
        connection.execute(text("UPDATE freshness_pipeline_log SET evaluated_at = :old"), {"old": ago(days=OLD)})

    assert await _clean(client) == NOTHING
    assert freshness_check_task()["new_stale_pipelines"] == 0


async def test_the_longest_retention_works(client: httpx.AsyncClient) -> None:
    assert await _clean(client, retention_days=365_000) == NOTHING
