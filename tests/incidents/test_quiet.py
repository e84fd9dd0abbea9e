"""What somebody resolved while it held is quiet until it was over once, or is worse; also what is no pipeline."""

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from tests.incidents.records import add_incident, incident
from tests.support import queues
from tests.support.queues import add_waiting
from tests.support.rows import add_pipeline, add_run, ago, alerts, now
from watcher_server.incidents.failing import judge_failure
from watcher_server.incidents.queues import check_queues
from watcher_server.incidents.watcher import check_watcher
from watcher_server.settings import Settings, load_settings

pytestmark = pytest.mark.usefixtures("valkey")

BY_HAND: dict[str, Any] = {"resolution": "hand", "quiet": True}


@pytest.fixture
def settings(database_url: str) -> Settings:
    return load_settings(database_url=database_url)


def waiting(connection: Connection, number: int) -> None:
    connection.execute(text("DELETE FROM outbox"))
    if number:
        add_waiting(connection, number, queue="celery")


def test_a_quiet_queue_is_told_again_once_it_was_short(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        queues.add_worker(connection)
        waiting(connection, 60)
        check_queues(connection, settings)
        by_hand = "UPDATE incident SET state = 'resolved', resolved_at = now(), resolution = 'hand', quiet = true"
        connection.execute(text(by_hand))
        for pending in (30, 60, 0):
            waiting(connection, pending)
            check_queues(connection, settings)
        assert [alert["level"] for alert in alerts(connection)] == ["WARNING"]
        assert incident(connection, 1)["quiet"] is False
        waiting(connection, 60)
        check_queues(connection, settings)
        assert [alert["level"] for alert in alerts(connection)] == ["WARNING", "WARNING"]


def test_a_quiet_queue_that_is_worse_is_told(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        queues.add_worker(connection)
        waiting(connection, 60)
        check_queues(connection, settings)
        by_hand = "UPDATE incident SET state = 'resolved', resolved_at = now(), resolution = 'hand', quiet = true"
        connection.execute(text(by_hand))
        for pending in (200, 0):
            waiting(connection, pending)
            check_queues(connection, settings)
        assert [alert["level"] for alert in alerts(connection)] == ["WARNING", "CRITICAL", "RESOLVED"]
        assert [incident(connection, id_)["quiet"] for id_ in (1, 2)] == [False, False]


def test_a_quiet_channel_is_told_again_once_it_delivered(engine: Engine, settings: Settings) -> None:
    broken = "INSERT INTO channel (name, failing_since, last_error) VALUES ('default', now() - interval '1 hour', 'no')"
    with engine.begin() as connection:
        queues.add_worker(connection)
        connection.execute(text(broken))
        id_ = add_incident(connection, None, "channel", subject="default", level="ERROR", resolved_at=now(), **BY_HAND)
        check_watcher(connection, settings)
        assert (alerts(connection), incident(connection, id_)["quiet"]) == ([], True)
        connection.execute(text("DELETE FROM channel"))
        check_watcher(connection, settings)
        assert incident(connection, id_)["quiet"] is False
        connection.execute(text(broken))
        check_watcher(connection, settings)
        assert [alert["title"] for alert in alerts(connection)] == ["Alert Channel Broken"]


def test_silence_lasts_until_somebody_is_heard_although_somebody_resolved_it(
    engine: Engine, settings: Settings
) -> None:
    with engine.begin() as connection:
        queues.add_worker(connection)
        silent = {"subject": "silence", "level": "CRITICAL", "resolved_at": ago(minutes=30), **BY_HAND}
        id_ = add_incident(connection, None, "watcher", **silent)
        check_watcher(connection, settings)
        assert incident(connection, id_)["quiet"] is True
        add_run(connection, add_pipeline(connection), end_date=None, start_date=now())
        check_watcher(connection, settings)
        assert incident(connection, id_)["quiet"] is False


def test_a_pipeline_that_succeeded_in_between_is_told_although_no_sweep_saw_it(engine: Engine) -> None:
    with engine.begin() as connection:
        orders = add_pipeline(connection)
        runs = {days: add_run(connection, orders, end_date=ago(days=days)) for days in (0.4, 0.3, 0.1)}
        failed = "UPDATE pipeline_execution SET completed_successfully = false WHERE id = ANY(:ids)"
        connection.execute(text(failed), {"ids": [runs[0.4], runs[0.1]]})
        resolved = {"level": "ERROR", "opened_at": ago(days=0.4), "resolved_at": ago(days=0.35), **BY_HAND}
        add_incident(connection, orders, "failing", **resolved)
        opening = judge_failure(connection, orders, alert_max_age_hours=24)

    assert opening is not None
    assert opening.change == "opened"


def test_a_pipeline_that_goes_on_failing_stays_quiet(engine: Engine) -> None:
    with engine.begin() as connection:
        orders = add_pipeline(connection)
        for days in (0.4, 0.1):
            add_run(connection, orders, end_date=ago(days=days), completed_successfully=False)
        resolved = {"level": "ERROR", "opened_at": ago(days=0.4), "resolved_at": ago(days=0.35), **BY_HAND}
        add_incident(connection, orders, "failing", **resolved)
        opening = judge_failure(connection, orders, alert_max_age_hours=24)

    assert opening is not None
    assert opening.change == "silenced"
