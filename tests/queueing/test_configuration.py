"""What beat schedules and where it goes, and how long the broker waits for a worker."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from tests.support.calling import watcher_app
from tests.support.live import wait_until, watcher_process
from tests.support.tasks import waiting_rows
from watcher_server.queueing.configuration import celery_configuration, visibility_timeout_seconds
from watcher_server.queueing.retry import retry_delay
from watcher_server.queueing.scheduler import OutboxScheduler
from watcher_server.settings import load_settings

NOWHERE = "redis://127.0.0.1:1/0"


def test_each_check_has_its_own_schedule_and_stays_out_of_the_main_queue() -> None:
    settings = load_settings(
        freshness_check_schedule="1 * * * *",
        timeliness_check_schedule="2 * * * *",
        celery_queue_health_check_schedule="3 * * * *",
        timeliness_check_lookback_minutes=90,
    )

    entries = celery_configuration(settings)["beat_schedule"].values()

    found = {entry["task"]: (min(entry["schedule"].minute), entry["kwargs"]) for entry in entries}
    assert found == {
        "freshness_check_task": (1, {}),
        "timeliness_check_task": (2, {"lookback_minutes": 90}),
        "schedule_check_task": (0, {}),
        "celery_queue_health_check_task": (3, {}),
        "redeliver_alerts_task": (0, {}),
        "daily_metrics_task": (10, {}),
    }
    assert {entry["options"]["queue"] for entry in entries} == {"scheduled"}


def test_what_a_dying_worker_held_is_given_back() -> None:
    configuration = celery_configuration(load_settings())

    assert (configuration["task_acks_late"], configuration["task_reject_on_worker_lost"]) == (True, True)
    assert configuration["worker_prefetch_multiplier"] == 1
    assert not configuration["worker_cancel_long_running_tasks_on_connection_loss"]


def test_each_task_has_its_limits_of_time() -> None:
    configuration = celery_configuration(load_settings(task_time_limit_seconds=120))

    assert (configuration["task_soft_time_limit"], configuration["task_time_limit"]) == (115, 120)


@given(
    retries=st.integers(0, 100),
    delay=st.integers(1, 86_400),
    closure_delay=st.integers(1, 86_400),
    cap=st.integers(1, 86_400),
    limit=st.integers(20, 86_400),
)
def test_the_broker_waits_for_longer_than_any_back_off_and_run(
    retries: int, delay: int, closure_delay: int, cap: int, limit: int
) -> None:
    settings = load_settings(
        task_max_retries=retries,
        task_retry_delay_seconds=delay,
        closure_retry_delay_seconds=closure_delay,
        task_retry_delay_cap_seconds=cap,
        task_time_limit_seconds=limit,
    )

    longest = (
        max(retry_delay(tries, base, cap) for tries in range(retries) for base in (delay, closure_delay))
        if retries
        else 0
    )
    assert visibility_timeout_seconds(settings) > longest + limit


@pytest.fixture
def due_schedule(engine: Engine, tmp_path: Path) -> Path:
    """A home in which a beat has run that is an hour behind now."""
    assert engine is not None
    (tmp_path / "beat").mkdir()
    app: Celery = watcher_app()
    scheduler = OutboxScheduler(app, schedule_filename=str(tmp_path / "beat" / "schedule"))
    for entry in scheduler.schedule.values():
        entry.last_run_at = app.now() - timedelta(hours=2)
    scheduler.close()
    return tmp_path


def test_beat_writes_down_what_is_due_although_the_broker_is_away(
    engine: Engine, database_url: str, due_schedule: Path
) -> None:
    environment = {
        "WATCHER_HOME": str(due_schedule),
        "WATCHER_DATABASE_URL": database_url,
        "WATCHER_BROKER_URL": NOWHERE,
        # Every minute, by default: twice, when one begins while this test looks.
        "WATCHER_SCHEDULE_CHECK_SCHEDULE": "0 * * * *",
    }

    def waiting() -> dict[str, Any]:
        with engine.connect() as connection:
            return {row["task_name"]: row for row in waiting_rows(connection)}

    with watcher_process(["beat"], environment, due_schedule / "log"):
        wait_until(lambda: len(waiting()) == 6, "the schedules being written down")

    with engine.connect() as connection:
        rows = waiting_rows(connection)
    assert len(rows) == 6, "a check was written down twice"
    assert {row["queue"] for row in rows} == {"scheduled"}
    assert waiting()["timeliness_check_task"]["kwargs"] == {"lookback_minutes": 60}
