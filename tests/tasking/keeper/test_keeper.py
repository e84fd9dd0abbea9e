"""One keeper of all looks after things, and another one takes over when it dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support import queues
from tests.support.live import wait_until
from tests.support.rows import ago
from tests.support.tasks import add_task, task_row, waiting_rows
from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, raise_alert
from watcher_server.database.locks import KEEPER_LOCK
from watcher_server.incidents.duties import keeper_duties as duties_about_alerts
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.keeper import duties as keeper_duties
from watcher_server.tasking.keeper import keeper
from watcher_server.tasking.keeper.duties import Duty, by_cron, each_minute, every
from watcher_server.tasking.keeper.keeper import Keeper

PROGRAM = """
import signal
from watcher_server.tasking.keeper import keeper
from watcher_server.settings import load_settings
keeper.SILENT_SECONDS = 5
keeper.Keeper(load_settings()).start()
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
def keeping(settings: Settings, *further: Duty) -> Iterator[Keeper]:
    one = Keeper(settings, further)
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


def test_what_is_to_be_done_everywhere_is_done_by_those_who_do_not_lead_too(engine: Engine, settings: Settings) -> None:
    done: list[str] = []

    def duty(name: str, **fields: Any) -> Duty:
        return Duty(name, lambda _: done.append(name), every(seconds=3600), **fields)

    with keeping(settings):
        wait_until(lambda: leads(engine), "a leader")
        with keeping(settings, duty("by each", everywhere=True), duty("by one", at_once=True)):
            wait_until(lambda: bool(done), "the duty")

    assert done[0] == "by each"


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


def test_another_takes_over_while_the_process_of_the_first_hangs(engine: Engine, settings: Settings) -> None:
    with keeper_process() as first:
        wait_until(lambda: leads(engine), "the first leading")
        before = leader(engine)
        with keeping(settings):
            first.send_signal(signal.SIGSTOP)
            wait_until(lambda: leader(engine) not in {None, before}, "the second leading", 60)


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


def keeper_threads() -> int:
    return sum(thread.name == "keeper" for thread in threading.enumerate())


def test_without_a_database_it_waits_and_can_be_stopped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    nowhere = load_settings(database_url="postgresql://127.0.0.1:1/none", broker_url="redis://127.0.0.1:1/0")
    with keeping(nowhere):
        wait_until(lambda: "The keeper waits for the database" in caplog.text, "it waiting")
        assert keeper_threads() == 1
    assert keeper_threads() == 0


def test_stopping_waits_for_the_duty_at_hand_begins_no_other_and_frees_the_lock(
    engine: Engine, settings: Settings
) -> None:
    done: list[str] = []
    begun = threading.Event()

    def take_a_while(_: Engine) -> None:
        begun.set()
        time.sleep(0.5)
        done.append("slow")

    one = Keeper(
        settings,
        [
            Duty("go slowly", take_a_while, every(seconds=0)),
            Duty("follow", lambda _: done.append("next"), every(seconds=0)),
        ],
    )
    one.start()
    assert begun.wait(20)
    one.stop()

    assert done == ["slow"]
    assert keeper_threads() == 0
    wait_until(lambda: not leads(engine), "the lock being free")


def test_one_that_was_never_started_can_be_stopped(settings: Settings) -> None:
    Keeper(settings).stop()

    assert keeper_threads() == 0


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
    never = Duty("celebrate", fail, by_cron("0 0 31 2 *"))
    monkeypatch.setattr(keeper, "measure_queues", fail)
    task = lose_a_task(engine)

    with keeping(settings, Duty("divide", fail, every(seconds=0)), never):
        wait_until(lambda: is_back(engine, task), "the lost task being put back")

    assert "The keeper could not sample the queues: ZeroDivisionError" in caplog.text
    assert "The keeper could not divide: ZeroDivisionError" in caplog.text
    assert "The keeper could not celebrate: RuntimeError" in caplog.text


def test_it_delivers_what_no_worker_delivers_and_trims_the_history(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_TRIM_SECONDS", 0.0)
    monkeypatch.setattr(keeper, "_TRIM_BATCH", 2)
    with engine.begin() as connection:
        old = [add_task(connection, finished_at=ago(days=30)) for _ in range(5)]
        kept = add_task(connection, finished_at=ago(days=1))
        raise_alert(connection, NewAlert(dedupe_key="a", level=Level.ERROR, title="t", message="m"))
        connection.execute(text("UPDATE notification SET next_try_at = now() - interval '2 minutes'"))

    def is_done() -> bool:
        with engine.connect() as connection:
            done = "SELECT count(*) = 1 AND (SELECT sent_to = 'log' FROM notification) FROM task"
            return bool(connection.scalar(text(done)))

    with keeping(settings, *at_once(settings, "deliver late alerts")):
        wait_until(is_done, "the duties being done")
    assert len(old) == 5
    with engine.connect() as connection:
        assert task_row(connection, kept)["state"] == "SUCCESS"


def at_once(settings: Settings, name: str) -> list[Duty]:
    """That duty about alerts, due all the time."""
    return [replace(duty, due=every(seconds=0)) for duty in duties_about_alerts(settings) if duty.name == name]


def test_it_looks_at_the_queues(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        queues.add_waiting(connection, 60)

    def is_alerted() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT message = 'Queue has 60 pending tasks' FROM alert")))

    with keeping(settings, *at_once(settings, "look at the queues")):
        wait_until(is_alerted, "the alert")


def test_the_setting_says_when_it_looks_at_the_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(celery_queue_health_check_schedule="7 * * * *")
    (duty,) = (duty for duty in duties_about_alerts(settings) if duty.name == "look at the queues")
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    before, after = this_hour + timedelta(minutes=6), this_hour + timedelta(minutes=8)

    def is_due(done_at: datetime, now: datetime) -> bool:
        monkeypatch.setattr("celery.schedules.crontab.now", lambda _: now)
        return duty.due(done_at)

    assert not is_due(before, before + timedelta(seconds=30))
    assert is_due(before, after)
    assert not is_due(after, after + timedelta(minutes=50))


def samples(engine: Engine) -> list[tuple[str, int]]:
    """The queue and the number in its outbox of each sample."""
    with engine.connect() as connection:
        statement = text("SELECT queue, outbox_pending FROM queue_depth_sample ORDER BY sampled_at, queue")
        return [(row.queue, row.outbox_pending) for row in connection.execute(statement)]


def test_it_samples_the_queues_at_once_and_then_once_a_minute(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "each_minute", lambda _: True)
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

    assert samples(engine)[:2] == [("alerts", 0), ("celery", 7)]


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
def test_samples_are_due_when_a_full_minute_begins(
    since: str, now: str, is_due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done_at, moment = (datetime.fromisoformat(f"2026-11-22T{at}Z") for at in (since, now))

    monkeypatch.setattr(keeper_duties, "datetime", SimpleNamespace(now=lambda _: moment))
    assert each_minute(done_at) is is_due


@pytest.mark.parametrize("due", [every(seconds=5), by_cron("0 * * * *")])
def test_a_duty_is_due_when_the_clock_was_put_back_behind_its_last_time(due: Callable[[datetime], bool]) -> None:
    assert due(datetime.now(UTC) + timedelta(minutes=50))
