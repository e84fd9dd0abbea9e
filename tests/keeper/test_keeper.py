"""One keeper of all looks after things, and another one takes over when it dies."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support import queues
from tests.support.live import wait_until
from tests.support.rows import ago
from tests.support.tasks import add_task, task_row, waiting_rows
from watcher_server.alerts.service import Level, NewAlert, raise_alert
from watcher_server.database.locks import KEEPER_LOCK
from watcher_server.keeper import keeper
from watcher_server.keeper.keeper import Keeper
from watcher_server.keeper.queues import QueueWatch, is_another_minute
from watcher_server.settings import Settings, load_settings

PROGRAM = """
import signal
from watcher_server.keeper.keeper import Keeper
from watcher_server.settings import load_settings
Keeper(load_settings()).start()
signal.pause()
"""
_LEADER = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = :key
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
def settings(engine: Engine, database_url: str, broker_url: str) -> Settings:
    assert engine is not None
    return load_settings(database_url=database_url, broker_url=broker_url, lost_task_after_seconds=4)


@contextmanager
def keeping(settings: Settings) -> Iterator[Keeper]:
    one = Keeper(settings)
    one.start()
    try:
        yield one
    finally:
        one.stop()


@contextmanager
def keeper_process() -> Iterator["subprocess.Popen[bytes]"]:
    environment = {**os.environ, "WATCHER_LOST_TASK_AFTER_SECONDS": "4"}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def leader(engine: Engine) -> int | None:
    """The session that leads."""
    with engine.connect() as connection:
        pid: int | None = connection.scalar(text(_LEADER), {"key": KEEPER_LOCK})
        return pid


def leads(engine: Engine) -> bool:
    return leader(engine) is not None


def lose_a_task(engine: Engine) -> str:
    with engine.begin() as connection:
        dead = queues.add_worker(connection, seen_at=ago(minutes=5))
        return add_task(connection, "PROGRESS", worker_id=dead, started_at=ago(minutes=6))


def is_back(engine: Engine, task: str) -> bool:
    with engine.connect() as connection:
        return task in {str(row["task_id"]) for row in waiting_rows(connection)}


def test_another_takes_over_when_the_process_of_the_first_is_killed(engine: Engine, settings: Settings) -> None:
    with keeper_process() as first:
        wait_until(lambda: leads(engine), "the first leading")
        before = leader(engine)
        with keeping(settings):
            first.kill()
            wait_until(lambda: leader(engine) not in {None, before}, "the second leading")
            task = lose_a_task(engine)
            wait_until(lambda: is_back(engine, task), "the lost task being put back")


def test_of_several_one_leads(engine: Engine, settings: Settings) -> None:
    with keeping(settings):
        wait_until(lambda: leads(engine), "the first leading")
        first = leader(engine)
        with keeping(settings), keeping(settings):
            assert leader(engine) == first
    wait_until(lambda: not leads(engine), "the lock being free")


def test_it_leads_again_after_its_session_was_cut(engine: Engine, settings: Settings) -> None:
    with keeping(settings):
        wait_until(lambda: leads(engine), "it leading")
        before = leader(engine)
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend({before})"))
        wait_until(lambda: leader(engine) not in {None, before}, "it leading again")


def test_without_a_database_it_waits_and_can_be_stopped() -> None:
    with keeping(load_settings(database_url="postgresql://127.0.0.1:1/none", broker_url="redis://127.0.0.1:1/0")):
        pass


def test_a_new_leader_gives_workers_the_time_to_show_that_they_live(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After an outage of the database no worker has been seen for long.
    patient = settings.model_copy(update={"lost_task_after_seconds": 600})
    monkeypatch.setattr(keeper, "_TRIM_SECONDS", 0.0)
    task = lose_a_task(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE worker SET seen_at = now() - interval '1 hour'"))
        connection.execute(text("UPDATE task SET started_at = now() - interval '10 days'"))
        add_task(connection, finished_at=ago(days=30))

    def is_trimmed() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT count(*) = 1 FROM task")))

    with keeping(patient):
        wait_until(is_trimmed, "its first round")
    assert not is_back(engine, task)


def test_a_duty_that_cannot_be_done_keeps_no_other_from_being_done(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    # A schedule that never comes raises as well, when it is asked for the next moment.
    never = settings.model_copy(update={"celery_queue_health_check_schedule": "0 0 31 2 *"})
    monkeypatch.setattr(keeper, "deliver_late_alerts", fail)
    monkeypatch.setattr(keeper, "_ALERTS_SECONDS", 0.0)
    task = lose_a_task(engine)

    with keeping(never):
        wait_until(lambda: is_back(engine, task), "the lost task being put back")

    assert "The keeper could not deliver alerts: ZeroDivisionError" in caplog.text
    assert "The keeper could not look at the queues: RuntimeError" in caplog.text


def test_it_delivers_what_no_worker_delivers_and_trims_the_history(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_ALERTS_SECONDS", 0.0)
    monkeypatch.setattr(keeper, "_TRIM_SECONDS", 0.0)
    monkeypatch.setattr(keeper, "_TRIM_BATCH", 2)
    with engine.begin() as connection:
        old = [add_task(connection, finished_at=ago(days=30)) for _ in range(5)]
        kept = add_task(connection, finished_at=ago(days=1))
        raise_alert(connection, NewAlert(dedupe_key="a", level=Level.ERROR, title="t", message="m"))
        connection.execute(text("UPDATE alert SET created_at = now() - interval '2 minutes'"))

    def is_done() -> bool:
        with engine.connect() as connection:
            done = "SELECT count(*) = 1 AND (SELECT delivered_to = 'log' FROM alert) FROM task"
            return bool(connection.scalar(text(done)))

    with keeping(settings):
        wait_until(is_done, "the duties being done")
    assert len(old) == 5
    with engine.connect() as connection:
        assert task_row(connection, kept)["state"] == "SUCCESS"


def test_it_looks_at_the_queues_when_their_schedule_says_so(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EverySecond:
        @staticmethod
        def from_string(_: str) -> Any:
            from celery.schedules import schedule  # noqa: PLC0415 - only here

            return schedule(1)

    monkeypatch.setattr(keeper, "crontab", EverySecond)
    with engine.begin() as connection:
        queues.add_waiting(connection, 60)

    def is_alerted() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT message = 'Queue has 60 pending tasks' FROM alert")))

    with keeping(settings):
        wait_until(is_alerted, "the alert")


def samples(engine: Engine) -> list[tuple[str, int]]:
    """The queue and the number in its outbox of each sample."""
    with engine.connect() as connection:
        statement = text("SELECT queue, outbox_pending FROM queue_depth_sample ORDER BY sampled_at, queue")
        return [(row.queue, row.outbox_pending) for row in connection.execute(statement)]


def test_it_samples_the_queues_at_once_and_then_once_a_minute(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_each_minute", lambda _: True)
    with engine.begin() as connection:
        queues.add_waiting(connection, 7)

    def is_sampled_again() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT count(DISTINCT sampled_at) >= 2 FROM queue_depth_sample")))

    with keeping(settings):
        wait_until(lambda: bool(samples(engine)), "the first sample")
        with engine.begin() as connection:
            # As if it had been taken before.
            connection.execute(text("UPDATE queue_depth_sample SET sampled_at = sampled_at - interval '1 hour'"))
        wait_until(is_sampled_again, "the next sample")

    assert samples(engine)[:2] == [("celery", 7), ("scheduled", 0)]


def test_a_sample_and_an_alert_of_the_same_moment_are_one_measurement(engine: Engine, settings: Settings) -> None:
    watch = QueueWatch(settings)
    with engine.begin() as connection:
        queues.add_waiting(connection, 60)
        watch.sample(connection)
        queues.add_waiting(connection, 60)
        assert watch.alert(connection) == 1
        assert connection.scalar(text("SELECT message FROM alert")) == "Queue has 60 pending tasks"


@pytest.mark.parametrize(
    ("since", "now", "is_due"),
    [
        ("10:00:00", "10:00:59", False),
        ("10:00:59", "10:01:00", True),
        ("10:00:59", "11:00:59", True),
        # The clock was put back: the minute of before is no reason to wait for it.
        ("10:30:00", "10:00:00", True),
    ],
)
def test_samples_are_due_when_a_full_minute_begins(since: str, now: str, is_due: bool) -> None:
    since_moment, moment = (datetime.fromisoformat(f"2026-11-22T{time}Z") for time in (since, now))

    assert is_another_minute(since_moment, moment) is is_due
