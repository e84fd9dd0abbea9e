"""Watcher itself: its workers, checks, tasks, queues and channels, and when nobody is heard."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from tests.incidents.passing import incidents, sweep, told, wait
from tests.support import queues
from tests.support.rows import add_pipeline, add_run, ago
from watcher_server.incidents.queues import check_queues
from watcher_server.incidents.task_failures import open_for_failed_task
from watcher_server.incidents.watcher import check_watcher
from watcher_server.settings import load_settings
from watcher_server.tasking.history.backend import FailedTask
from watcher_server.tasking.sending.configuration import beat_schedule

pytestmark = pytest.mark.usefixtures("valkey")


def check(engine: Engine) -> None:
    with engine.begin() as connection:
        check_watcher(connection, load_settings())


def up_for(engine: Engine, minutes: int) -> None:
    """Have Watcher be up for so many minutes: a sample of the queues in each."""
    sample = """
        INSERT INTO queue_depth_sample
            (sampled_at, queue, ready, unacknowledged, scheduled, outbox_pending, oldest_seconds)
        SELECT date_trunc('minute', now()) - make_interval(mins => ago), 'celery', 0, 0, 0, 0, 0
        FROM generate_series(0, :minutes - 1) AS ago
        ON CONFLICT DO NOTHING
    """
    with engine.begin() as connection:
        connection.execute(text(sample), {"minutes": minutes})


def worker(engine: Engine, seen: timedelta = timedelta(0), started: timedelta = timedelta(hours=1)) -> None:
    """A worker that started so long ago and was seen so long ago."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM worker"))
        now = datetime.now(UTC)
        queues.add_worker(connection, seen_at=now - seen, started_at=now - started)


def checked(engine: Engine, **before: float) -> None:
    """The checks succeeded so long ago."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM task"))
        for entry in beat_schedule(load_settings()).values():
            queues.add_finished(connection, 1, entry["task"], created_at=ago(**before))


def subjects(engine: Engine) -> list[tuple[str, str]]:
    return [(incident["subject"], incident["state"]) for incident in incidents(engine)]


@pytest.fixture
def settled(engine: Engine) -> Engine:
    """Watcher has been up for long, with a worker, and its checks run."""
    up_for(engine, 15)
    worker(engine)
    checked(engine, seconds=5)
    return engine


def test_a_fresh_install_has_no_incident(engine: Engine) -> None:
    check(engine)
    up_for(engine, 15)
    check(engine)
    worker(engine, started=timedelta(0))
    check(engine)
    with engine.begin() as connection:
        for name in ("one", "two"):
            missed(connection, add_pipeline(connection, name))
    check(engine)

    assert incidents(engine) == []


def test_a_worker_that_is_gone_is_told_until_one_is_back(settled: Engine) -> None:
    check(settled)
    worker(settled, seen=timedelta(minutes=1))
    check(settled)
    assert incidents(settled) == []

    worker(settled, seen=timedelta(minutes=3))
    for _ in range(3):
        check(settled)
    assert subjects(settled) == [("workers", "open")]
    assert told(settled) == ["CRITICAL No worker is alive, so nothing is analysed: start one with `watcher worker`"]

    worker(settled)
    check(settled)
    wait(settled, minutes=2)

    assert subjects(settled) == [("workers", "resolved")]
    assert told(settled)[1:] == ["RESOLVED workers well again"]


def test_while_tasks_wait_for_the_first_worker_that_is_told(engine: Engine) -> None:
    up_for(engine, 15)
    with engine.begin() as connection:
        queues.add_waiting(connection, due_at=ago(minutes=3))
    check(engine)

    assert subjects(engine) == [("workers", "open")]


@pytest.mark.parametrize("minutes_up", [0, 1, 2])
def test_after_a_night_without_power_nothing_is_wrong_at_first(engine: Engine, minutes_up: int) -> None:
    worker(engine, seen=timedelta(hours=8), started=timedelta(hours=20))
    checked(engine, hours=8)
    with engine.begin() as connection:
        for name in ("one", "two"):
            pipeline_id = add_pipeline(connection, name)
            add_run(connection, pipeline_id, start_date=ago(hours=9))
            missed(connection, pipeline_id)
    up_for(engine, minutes_up)
    check(engine)
    assert incidents(engine) == []

    worker(engine, started=timedelta(seconds=5))
    up_for(engine, 9)
    check(engine)

    assert incidents(engine) == []


def test_a_worker_that_is_still_gone_after_a_restart_stays_an_incident(settled: Engine) -> None:
    worker(settled, seen=timedelta(minutes=3))
    check(settled)
    with settled.begin() as connection:
        connection.execute(text("DELETE FROM queue_depth_sample"))
    check(settled)

    assert subjects(settled) == [("workers", "open")]


def test_checks_that_do_not_run_are_told_until_they_do(settled: Engine) -> None:
    check(settled)
    assert incidents(settled) == []
    checked(settled, hours=3)
    check(settled)
    assert subjects(settled) == [("checks", "open")]
    assert "CRITICAL Scheduled checks do not run: " in told(settled)[0]

    worker(settled, started=timedelta(0))
    check(settled)
    assert subjects(settled) == [("checks", "open")]

    checked(settled, seconds=1)
    check(settled)

    assert subjects(settled) == [("checks", "resolved")]


def missed(connection: Any, pipeline_id: int) -> None:
    log = """
        INSERT INTO missed_run_log (pipeline_id, expected_at, schedule, schedule_timezone, schedule_grace_minutes)
        VALUES (:id, now() - interval '12 minutes', '* * * * *', 'UTC', 10)
    """
    connection.execute(text(log), {"id": pipeline_id})


@pytest.fixture
def silent(settled: Engine) -> Engine:
    """Two pipelines that began runs an hour ago, and missed what was due."""
    with settled.begin() as connection:
        for name in ("one", "two"):
            pipeline_id = add_pipeline(connection, name)
            add_run(connection, pipeline_id, start_date=ago(hours=1), end_date=None)
            missed(connection, pipeline_id)
    return settled


def test_silence_is_told_until_somebody_is_heard(silent: Engine) -> None:
    for _ in range(2):
        check(silent)
    assert subjects(silent) == [("silence", "open")]
    assert told(silent)[0].startswith(
        "CRITICAL Silence: all runs that were due in the last 15 minutes were missed, of 2"
    )
    with silent.begin() as connection:
        connection.execute(text("DELETE FROM missed_run_log"))
    check(silent)
    assert subjects(silent) == [("silence", "open")]

    with silent.begin() as connection:
        add_run(connection, 1, start_date=ago(), end_date=None)
    check(silent)

    assert subjects(silent) == [("silence", "resolved")]


@pytest.mark.parametrize("heard", ["start", "end"])
def test_while_somebody_is_heard_it_is_not_silent(silent: Engine, heard: str) -> None:
    with silent.begin() as connection:
        if heard == "start":
            add_run(connection, 1, start_date=ago(minutes=14), end_date=None)
        else:
            queues.add_waiting(connection, 1, "judge_failure_task")
    check(silent)

    assert incidents(silent) == []


def test_one_pipeline_that_misses_its_runs_is_no_silence(silent: Engine) -> None:
    with silent.begin() as connection:
        connection.execute(text("DELETE FROM missed_run_log WHERE pipeline_id = 2"))
    check(silent)

    assert incidents(silent) == []


@pytest.mark.parametrize(
    ("channel", "broken"),
    [({"failing_since": "9 minutes"}, False), ({"failing_since": "11 minutes"}, True), ({"gone": True}, True)],
)
def test_a_channel_that_does_not_deliver_is_an_incident(settled: Engine, channel: dict[str, Any], broken: bool) -> None:
    add = """
        INSERT INTO channel (name, gone, failing_since, last_error)
        VALUES ('slack', :gone, now() - CAST(:since AS interval), '404')
    """
    with settled.begin() as connection:
        values = {"gone": channel.get("gone", False), "since": channel.get("failing_since")}
        connection.execute(text(add), values)
    for _ in range(2):
        check(settled)
    assert subjects(settled) == ([("slack", "open")] if broken else [])
    if broken:
        what = "is gone" if channel.get("gone") else "does not deliver"
        assert told(settled) == [f"ERROR The channel 'slack' {what}: 404"]

    with settled.begin() as connection:
        connection.execute(text("UPDATE channel SET gone = false, failing_since = NULL"))
    check(settled)

    assert subjects(settled) == ([("slack", "resolved")] if broken else [])


def fail_task(engine: Engine, name: str = "daily_metrics_task") -> UUID:
    with engine.begin() as connection:
        queues.add_published(connection, 1, name, state="FAILURE")
        task_id = connection.scalar(text("SELECT id FROM task ORDER BY created_at DESC, published_at DESC LIMIT 1"))
        meta = {"exc_type": "ValueError", "exc_message": "no", "retry_count": 3, "max_retries": 3}
        open_for_failed_task(connection, FailedTask(name, str(task_id), meta))
    return UUID(str(task_id))


def test_a_task_that_failed_for_good_is_over_when_its_retry_succeeds(engine: Engine) -> None:
    fail_task(engine)
    task_id = fail_task(engine)
    (incident,) = incidents(engine)
    assert (incident["kind"], incident["subject"], incident["count"]) == ("task", "daily_metrics_task", 2)
    assert told(engine) == ["ERROR Task daily_metrics_task failed for good: ValueError: no"]
    assert sweep(engine) == 0

    with engine.begin() as connection:
        connection.execute(text("UPDATE task SET state = 'SUCCESS' WHERE id = :id"), {"id": task_id})

    assert sweep(engine) == 1


def test_a_task_that_failed_for_good_is_over_after_a_day_without_another(engine: Engine) -> None:
    fail_task(engine)
    wait(engine, hours=23)
    fail_task(engine)
    wait(engine, hours=2)
    assert incidents(engine)[0]["state"] == "open"

    wait(engine, hours=23)

    assert incidents(engine)[0]["state"] == "resolved"


def test_a_task_without_an_id_that_names_it_is_an_incident_all_the_same(engine: Engine) -> None:
    with engine.begin() as connection:
        open_for_failed_task(connection, FailedTask("x" * 300, "no uuid", {}))
        open_for_failed_task(connection, FailedTask("deliver_alert_task", str(uuid4()), {}))

    assert [incident["subject"] for incident in incidents(engine)] == ["x" * 200]


def test_a_queue_is_one_incident_whatever_its_level(engine: Engine) -> None:
    worker(engine)
    for pending in (30, 60, 120, 60, 0):
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM outbox"))
            if pending:
                queues.add_waiting(connection, pending)
            check_queues(connection, load_settings())
    wait(engine, minutes=3)

    (incident,) = incidents(engine)
    assert (incident["subject"], incident["state"]) == ("celery", "resolved")
    assert [message.split()[0] for message in told(engine)] == ["INFO", "WARNING", "CRITICAL", "WARNING", "RESOLVED"]
