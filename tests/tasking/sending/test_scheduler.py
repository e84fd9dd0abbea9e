"""What beat sends when it starts, by what the history says was sent before."""

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery
from celery.schedules import crontab
from sqlalchemy import Engine, create_engine, text

from tests.support.calling import watcher_app
from tests.support.live import wait_until, watcher_process
from tests.support.rows import ago
from tests.support.tasks import add_task, add_waiting, waiting_rows
from watcher_server.tasking.sending import scheduler as scheduling
from watcher_server.tasking.sending.scheduler import OutboxScheduler
from watcher_server.tasking.workers.beating import BeatThread

NOWHERE = "redis://127.0.0.1:1/0"
_END_BEATS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE application_name = 'watcher beat' AND datname = current_database()
"""
HOURLY = ("freshness_check_task", "timeliness_check_task", "daily_metrics_task")


@pytest.fixture
def app() -> Iterator[Celery]:
    """Watcher's application with three tasks that are sent each hour, half an hour from now and before."""
    app = watcher_app()
    before = app.conf.beat_schedule
    minute = (datetime.now(UTC) + timedelta(minutes=30)).minute
    app.conf.beat_schedule = {
        name: {"task": name, "schedule": crontab(minute=str(minute)), "options": {"queue": "scheduled"}}
        for name in HOURLY
    }
    yield app
    app.conf.beat_schedule = before


def start_and_stop(app: Celery) -> None:
    """Have a new one send what is due."""
    scheduler = OutboxScheduler(app)
    run(scheduler)
    scheduler.close()


def run(scheduler: OutboxScheduler) -> float:
    """Have it send what is due; the seconds until it looks again."""
    for _ in range(10):
        seconds = scheduler.tick()
        if seconds > 0:
            return seconds
    raise AssertionError("it sends without an end")


def waiting(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(row["task_name"] for row in waiting_rows(connection))


def test_at_its_first_start_nothing_is_due(engine: Engine, app: Celery) -> None:
    start_and_stop(app)

    assert waiting(engine) == []


def test_what_fell_due_while_it_did_not_run_is_sent_once_and_nothing_else(engine: Engine, app: Celery) -> None:
    with engine.begin() as connection:
        add_task(connection, name=HOURLY[0], created_at=ago(minutes=10))
        for hours in (3, 2):
            add_task(connection, name=HOURLY[1], created_at=ago(hours=hours))
        # The last one counts, whatever became of it.
        add_task(connection, "FAILURE", name=HOURLY[2], created_at=ago(minutes=20))
        add_task(connection, name=HOURLY[2], created_at=ago(hours=5))

    start_and_stop(app)
    assert waiting(engine) == [HOURLY[1]]

    start_and_stop(app)
    assert waiting(engine) == [HOURLY[1]], "another start sent it once more"


def test_a_worker_that_is_told_to_sends_what_is_due_and_lets_another_beat_go_on_at_its_end(
    engine: Engine, app: Celery
) -> None:
    with engine.begin() as connection:
        for name in HOURLY:
            add_task(connection, name=name, created_at=ago(hours=2))

    beat = BeatThread(app)
    beat.start()
    wait_until(lambda: waiting(engine) == sorted(HOURLY), "what is due")
    beat.stop()

    with engine.connect() as connection:
        sessions = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'watcher beat'")
        wait_until(lambda: connection.scalar(sessions) == 0, "the end of the session by which it leads")


def test_of_two_one_sends_and_the_other_says_so_and_takes_over_at_its_end(
    engine: Engine, app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.begin() as connection:
        add_task(connection, name=HOURLY[0], created_at=ago(hours=2))
    one, other = OutboxScheduler(app), OutboxScheduler(app)
    for scheduler in (one, other, one, other):
        run(scheduler)

    assert waiting(engine) == [HOURLY[0]]
    assert [line for line in caplog.messages if line.startswith("Another beat sends the scheduled tasks")] == [
        "Another beat sends the scheduled tasks, and this one does nothing until it ends: stop one of both."
    ]

    one.close()
    with engine.begin() as connection:
        add_task(connection, name=HOURLY[1], created_at=ago(hours=2))
    run(other)
    other.close()
    assert waiting(engine) == [HOURLY[0], HOURLY[1]]
    assert "The other beat has ended" in caplog.text


def test_one_whose_session_was_ended_sends_nothing_twice(engine: Engine, app: Celery) -> None:
    # As the database does with one that hangs.
    with engine.begin() as connection:
        add_task(connection, name=HOURLY[0], created_at=ago(hours=2))
    one, other = OutboxScheduler(app), OutboxScheduler(app)
    run(one)
    with engine.begin() as connection:
        connection.execute(text(_END_BEATS))

    run(other)
    run(one)
    run(one)

    assert waiting(engine) == [HOURLY[0]]
    one.close()
    other.close()


async def test_the_diagnosis_counts_them(client: httpx.AsyncClient, app: Celery) -> None:
    page = "/diagnostics"
    one, other = OutboxScheduler(app), OutboxScheduler(app)
    run(one)
    run(other)

    assert "Stop all beats but one" in (await client.get(page)).text

    one.close()
    other.close()
    assert "without it nothing is checked by schedule" in (await client.get(page)).text


def test_what_waits_in_the_outbox_was_sent(engine: Engine, app: Celery) -> None:
    with engine.begin() as connection:
        add_task(connection, name=HOURLY[0], created_at=ago(hours=2))
        add_waiting(connection, HOURLY[0], created_at=ago(minutes=10), due_at=ago(minutes=10))

    start_and_stop(app)

    assert waiting(engine) == [HOURLY[0]]


def test_it_waits_for_the_database_and_then_sends(
    engine: Engine, app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.begin() as connection:
        add_task(connection, name=HOURLY[0], created_at=ago(hours=2))
    scheduler = OutboxScheduler(app)
    with monkeypatch.context() as away:
        nowhere = create_engine("postgresql+psycopg://127.0.0.1:1/none")
        away.setattr(scheduling, "sync_engine", lambda: nowhere)
        assert run(scheduler) == 5
    assert "Beat waits for the database" in caplog.text
    assert waiting(engine) == []

    run(scheduler)
    scheduler.close()

    assert waiting(engine) == [HOURLY[0]]


class Bomb:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self._path,)


def test_a_prepared_schedule_is_neither_read_nor_written(engine: Engine, app: Celery, tmp_path: Path) -> None:
    assert engine is not None
    prepared = pickle.dumps(Bomb(tmp_path / "went off"))
    for name in ("schedule", "schedule.db", "schedule.dat"):
        (tmp_path / name).write_bytes(prepared)

    scheduler = OutboxScheduler(app, schedule_filename=str(tmp_path / "schedule"))
    run(scheduler)
    scheduler.close()

    assert {path.name for path in tmp_path.iterdir()} == {"schedule", "schedule.db", "schedule.dat"}
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {prepared}


def test_beat_writes_down_what_is_due_although_the_broker_is_away(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    checks = {*HOURLY, "schedule_check_task"}
    environment = {
        "WATCHER_HOME": str(tmp_path / "home"),
        "WATCHER_DATABASE_URL": database_url,
        "WATCHER_BROKER_URL": NOWHERE,
        # Every minute, by default: twice, when one begins while this test looks.
        "WATCHER_SCHEDULE_CHECK_SCHEDULE": "0 * * * *",
    }
    with engine.begin() as connection:
        for name in checks:
            add_task(connection, name=name, created_at=ago(hours=2))

    with watcher_process(["beat"], environment, tmp_path / "log"):
        wait_until(lambda: {*waiting(engine)} == checks, "the schedules being written down")

    with engine.connect() as connection:
        rows = {row["task_name"]: row for row in waiting_rows(connection)}
    assert waiting(engine) == sorted(checks), "a check was written down twice"
    assert {row["queue"] for row in rows.values()} == {"scheduled"}
    assert rows["timeliness_check_task"]["kwargs"] == {"lookback_minutes": 60}
    assert not (tmp_path / "home").exists()
