"""``AsyncResult`` of a task on a live worker: each state as a caller sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from sqlalchemy import Engine, text

from tests.support.calling import calls_to, wait_for_state, watcher_app
from tests.support.live import LiveServer, wait_until
from tests.support.tasks import task_row
from watcher_server.celery_tasks import (
    address_lineage_closure_rebuild_task,
    detect_anomalies_task,
    freshness_check_task,
    redeliver_alerts_task,
    timeliness_check_task,
)
from watcher_server.database.locks import REBUILD_LOCK


def row(engine: Engine, task_id: str) -> dict[str, Any]:
    with engine.connect() as connection:
        return task_row(connection, task_id)


@pytest.fixture
def callers(live: LiveServer) -> Iterator[Engine]:
    """The database of a live worker, to which the calls of this process go."""
    with calls_to(live.database_url) as engine:
        yield engine


@contextmanager
def rebuilds_held(engine: Engine) -> Iterator[None]:
    """Have every rebuild of the closure wait for its turn."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": REBUILD_LOCK})
        yield


def test_what_succeeded_gives_its_result(callers: Engine) -> None:
    result = timeliness_check_task.delay(lookback_minutes=90)

    expected = {"new_overdue_executions": 0, "alerted": 0, "new_warnings": 0, "warnings_alerted": 0}
    assert result.get(timeout=30) == expected
    assert (result.state, result.info, result.successful()) == ("SUCCESS", result.result, True)
    assert (result.name, result.kwargs, result.queue) == ("timeliness_check_task", {"lookback_minutes": 90}, "celery")
    assert result.worker.startswith("watcher-")
    assert result.date_done
    assert row(callers, result.id)["started_at"] < row(callers, result.id)["finished_at"]


def test_while_it_runs_it_says_how_far_it_is(callers: Engine) -> None:
    with rebuilds_held(callers):
        result = address_lineage_closure_rebuild_task.delay([1], 1)
        wait_for_state(result, "PROGRESS")
        assert result.info == {
            "status": "Rebuilding the lineage closure...",
            "current_step": "Starting",
            "progress": 0,
        }
        assert not result.ready()
    wait_for_state(result, "SUCCESS")


def test_what_failed_raises_its_error(callers: Engine) -> None:
    result = detect_anomalies_task.delay("seven", 8)

    with pytest.raises(Exception, match="seven"):
        result.get(timeout=30)
    assert (result.state, result.failed()) == ("FAILURE", True)
    assert isinstance(result.result, Exception)
    assert "Traceback" in result.traceback


def test_what_expired_is_revoked(live: LiveServer, callers: Engine) -> None:
    task_id = str(uuid4())
    with Celery(broker=live.broker_url, set_as_current=False) as app:
        app.send_task("redeliver_alerts_task", task_id=task_id, expires=datetime.now(UTC) - timedelta(minutes=1))

    result = watcher_app().AsyncResult(task_id)
    wait_until(result.ready, "the end of the expired task")
    assert str(result.state) == "REVOKED"
    assert str(result.result) == "expired"


def test_what_nobody_knows_is_pending(callers: Engine) -> None:
    for task_id in (str(uuid4()), "tonight", ""):
        result = watcher_app().AsyncResult(task_id or "-")
        assert (result.state, result.result) == ("PENDING", None)
    assert callers is not None


def test_what_has_succeeded_is_not_run_again(live: LiveServer, callers: Engine) -> None:
    result = redeliver_alerts_task.delay()
    wait_for_state(result, "SUCCESS")
    before = row(callers, result.id)

    with Celery(broker=live.broker_url, set_as_current=False) as app:
        app.send_task("redeliver_alerts_task", task_id=result.id)

    log = live.logs / "worker.log"
    wait_until(lambda: f"Task {result.id} has succeeded already" in log.read_text(), "the second message")
    assert row(callers, result.id) == before


def test_results_can_be_forgotten(callers: Engine) -> None:
    result = freshness_check_task.delay()
    wait_for_state(result, "SUCCESS")

    result.forget()

    with callers.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM task WHERE id = :id"), {"id": result.id}) == 0
    assert watcher_app().AsyncResult(result.id).state == "PENDING"
