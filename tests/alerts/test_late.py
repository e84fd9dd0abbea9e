"""Alerts that no worker delivered in time arrive all the same, and once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support import queues
from tests.support.rows import ago, rows
from tests.support.slack import SlackSink, slack_sink
from watcher_server.alerts.late import deliver_late_alerts
from watcher_server.alerts.models import Alert
from watcher_server.alerts.service import Level, NewAlert, deliver_alert, raise_alert
from watcher_server.settings import Settings, load_settings


@pytest.fixture
def settings(database_url: str) -> Settings:
    return load_settings(database_url=database_url)


def put(engine: Engine, message: str = "late", **fields: Any) -> None:
    """An alert that was raised two minutes ago, unless the fields say otherwise."""
    with engine.begin() as connection:
        raise_alert(connection, NewAlert(dedupe_key=message, level=Level.ERROR, title="Alert", message=message))
        values = {"created_at": ago(minutes=2), **fields}
        columns = ", ".join(f"{name} = :{name}" for name in values)
        connection.execute(text(f"UPDATE alert SET {columns} WHERE message = :message"), {**values, "message": message})


def alert(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        (row,) = rows(connection, Alert)
        return row


def working(engine: Engine) -> None:
    with engine.begin() as connection:
        queues.add_worker(connection)


def test_what_nobody_delivered_within_a_minute_is_delivered_once(engine: Engine, settings: Settings) -> None:
    put(engine)
    with slack_sink() as slack:
        settings = load_settings(slack_webhook_url=slack.url)
        assert deliver_late_alerts(engine, settings) == 1
        assert deliver_late_alerts(engine, settings) == 0

    assert slack.messages() == {"late": 1}
    assert (alert(engine)["delivered_to"], alert(engine)["attempts"]) == ("slack", 1)


def test_without_a_webhook_it_is_written_to_the_log(
    engine: Engine, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    put(engine)

    assert deliver_late_alerts(engine, settings) == 1
    assert "Message: late" in caplog.text
    assert "No worker delivered alert 1 within 60 s: the keeper did." in caplog.text


def test_workers_that_live_but_are_busy_are_not_waited_for(engine: Engine, settings: Settings) -> None:
    working(engine)
    put(engine)

    assert deliver_late_alerts(engine, settings) == 1


def test_an_alert_of_a_moment_ago_is_left_to_the_workers(engine: Engine, settings: Settings) -> None:
    put(engine, created_at=ago(seconds=30))

    assert deliver_late_alerts(engine, settings) == 0


def test_what_nobody_wants_to_know_any_more_is_left(engine: Engine, settings: Settings) -> None:
    put(engine, created_at=ago(hours=25))

    assert deliver_late_alerts(engine, settings) == 0
    assert deliver_late_alerts(engine, settings.model_copy(update={"alert_max_age_hours": 26})) == 1


def test_what_a_worker_has_tried_is_the_business_of_its_retries(engine: Engine, settings: Settings) -> None:
    working(engine)
    put(engine, attempts=1, created_at=ago(hours=1))

    assert deliver_late_alerts(engine, settings) == 0


@pytest.mark.parametrize(("attempts", "minutes", "delivered"), [(1, 4, 0), (1, 6, 1), (3, 14, 0), (3, 16, 1)])
def test_while_no_worker_lives_it_is_tried_again_after_a_while(
    engine: Engine, settings: Settings, attempts: int, minutes: int, delivered: int
) -> None:
    with engine.begin() as connection:
        queues.add_worker(connection, seen_at=ago(minutes=5))
        queues.add_worker(connection, stopped_at=ago(seconds=1))
    put(engine, attempts=attempts, created_at=ago(minutes=minutes))

    assert deliver_late_alerts(engine, settings) == delivered


def test_what_slack_refuses_keeps_no_other_and_says_why(engine: Engine) -> None:
    nobody = load_settings(slack_webhook_url="http://127.0.0.1:1/services/a-secret")
    put(engine)

    assert deliver_late_alerts(engine, nobody) == 0
    refused = alert(engine)
    assert (refused["delivered_at"], refused["attempts"]) == (None, 1)
    assert refused["last_error"] == "Slack could not be reached (ConnectError)"
    assert deliver_late_alerts(engine, nobody) == 0
    assert alert(engine)["attempts"] == 1, "it was tried again at once"


def test_the_oldest_go_first_and_not_all_at_once(engine: Engine) -> None:
    for number in range(25):
        put(engine, f"alert {number:02}")
    with slack_sink() as slack:
        settings = load_settings(slack_webhook_url=slack.url)
        assert deliver_late_alerts(engine, settings) == 20
        assert sorted(slack.messages()) == [f"alert {number:02}" for number in range(20)]
        assert deliver_late_alerts(engine, settings) == 5


def test_a_worker_that_delivers_it_at_the_same_moment_and_the_keeper_deliver_it_once(engine: Engine) -> None:
    put(engine)

    def work(slack: SlackSink) -> None:
        with engine.begin() as connection:
            deliver_alert(connection, 1, load_settings(slack_webhook_url=slack.url))

    with slack_sink() as slack, ThreadPoolExecutor(4) as pool:
        settings = load_settings(slack_webhook_url=slack.url)
        workers = [pool.submit(work, slack) for _ in range(2)]
        keepers = [pool.submit(deliver_late_alerts, engine, settings) for _ in range(2)]
        assert sum(keeper.result() for keeper in keepers) in {0, 1}
        assert all(worker.result() is None for worker in workers)

    assert slack.messages() == {"late": 1}
