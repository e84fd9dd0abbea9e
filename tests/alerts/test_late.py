"""Alerts that no worker sent in time arrive all the same, and once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from tests.support.notifications import CHANNEL, channel, deliver, make_due, notifications, put, states
from tests.support.rows import ago
from tests.support.slack import Answer, slack_sink
from tests.support.tasks import waiting_rows
from watcher_server.alerts.delivery import deliver_alert, deliver_late_alerts
from watcher_server.alerts.duties import keeper_duties
from watcher_server.alerts.lanes import Lane
from watcher_server.celery_tasks import deliver_alert_task
from watcher_server.settings import Settings, load_settings


@pytest.fixture
def settings(database_url: str) -> Settings:
    return load_settings(database_url=database_url)


def deliver_late(engine: Engine, settings: Settings) -> int:
    return deliver_late_alerts(engine, settings, late_seconds=3, seconds=5)


def test_what_nobody_sent_is_sent_once(engine: Engine) -> None:
    put(engine, "late", next_try_at=ago(seconds=10))
    with slack_sink() as slack:
        settings = load_settings(slack_webhook_url=slack.url)
        assert deliver_late(engine, settings) == 1
        assert deliver_late(engine, settings) == 0

    assert slack.messages() == {"late": 1}
    assert states(engine) == ["sent"]


def test_without_a_webhook_it_is_written_to_the_log(
    engine: Engine, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    put(engine, "late", next_try_at=ago(seconds=10))

    assert deliver_late(engine, settings) == 1
    assert "Message: late" in caplog.text


def test_an_alert_of_a_moment_ago_is_left_to_the_workers(engine: Engine, settings: Settings) -> None:
    put(engine)

    assert deliver_late(engine, settings) == 0


def test_what_waits_for_others_is_sent_when_it_is_due(engine: Engine, settings: Settings) -> None:
    put(engine, wait_seconds=30)
    assert deliver_late(engine, settings) == 0

    make_due(engine)
    assert deliver_late_alerts(engine, settings, late_seconds=0, seconds=5) == 1


def test_what_nobody_wants_to_know_any_more_is_left(engine: Engine, settings: Settings) -> None:
    put(engine, created_at=ago(hours=25), next_try_at=ago(hours=25))

    assert deliver_late(engine, settings.model_copy(update={"alert_max_age_hours": 26})) == 1


def test_a_channel_that_is_sent_to_or_paused_is_left_alone(engine: Engine, settings: Settings) -> None:
    put(engine, next_try_at=ago(seconds=10))
    lane = Lane(engine, CHANNEL, settings)
    assert lane.take()
    assert deliver_late(engine, settings) == 0

    lane.give_back()
    with engine.begin() as connection:
        connection.execute(text("UPDATE channel SET paused_until = now() + interval '1 minute'"))
    assert deliver_late(engine, settings) == 0


def test_a_round_of_the_keeper_ends_although_more_is_due(engine: Engine) -> None:
    for number in range(4):
        put(engine, f"alert {number}", next_try_at=ago(seconds=10))
    with slack_sink() as slack:
        slack.script.extend(Answer(after_seconds=1) for _ in range(4))
        settings = load_settings(slack_webhook_url=slack.url)
        told = deliver_late_alerts(engine, settings, late_seconds=3, seconds=1.5)
        assert 0 < told < 4
        assert channel(engine)["lease"] is None
        assert deliver_late_alerts(engine, settings, late_seconds=3, seconds=30) == 4 - told


def test_what_slack_refuses_is_tried_again_later_and_says_why(engine: Engine) -> None:
    nobody = load_settings(slack_webhook_url="http://127.0.0.1:1/services/a-secret")
    put(engine, next_try_at=ago(seconds=10))

    assert deliver_late(engine, nobody) == 0
    assert deliver_late(engine, nobody) == 0
    (refused,) = notifications(engine)
    assert (refused["state"], refused["attempts"]) == ("waiting", 1), "it was tried again at once"
    assert refused["last_error"] == "Slack could not be reached (ConnectError)"


def test_workers_and_the_keeper_at_the_same_moment_send_it_once(engine: Engine) -> None:
    put(engine, "late", next_try_at=ago(seconds=10))

    with slack_sink() as slack, ThreadPoolExecutor(4) as pool:
        settings = load_settings(slack_webhook_url=slack.url)
        workers = [pool.submit(deliver_alert, engine, 1, settings, seconds=5) for _ in range(2)]
        keepers = [pool.submit(deliver_late, engine, settings) for _ in range(2)]
        assert sum(keeper.result() for keeper in keepers) in {0, 1}
        assert {worker.result().sent_to for worker in workers} <= {None, "slack"}

    assert slack.messages() == {"late": 1}


def test_a_task_that_sends_for_long_leaves_the_rest_to_another(engine: Engine) -> None:
    for number in range(3):
        put(engine, f"alert {number}")
    with slack_sink() as slack:
        slack.script.append(Answer(after_seconds=1))
        delivery = deliver_alert(engine, 1, load_settings(slack_webhook_url=slack.url), seconds=0.5)

    assert (delivery.sent_to, delivery.more_is_due) == ("slack", True)


def test_the_task_of_an_alert_that_is_gone_says_so(engine: Engine) -> None:
    assert engine

    assert deliver_alert_task(99) == {"delivered_to": None, "skipped": "no such alert"}


def test_the_keeper_gives_up_what_is_too_old_although_its_channel_is_paused(engine: Engine, settings: Settings) -> None:
    put(engine)
    assert deliver(engine, load_settings(slack_webhook_url="http://127.0.0.1:1/")) == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE channel SET paused_until = now() + interval '15 minutes'"))
        connection.execute(text("UPDATE notification SET created_at = now() - interval '25 hours'"))

    duties = {duty.name: duty for duty in keeper_duties(settings)}
    duties["give up old alerts"].do(engine)

    assert states(engine) == ["given_up"]
    assert notifications(engine)[0]["last_error"] == "Slack could not be reached (ConnectError)"


def test_nothing_is_queued_for_a_retry(engine: Engine) -> None:
    put(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM outbox"))

    assert deliver(engine, load_settings(slack_webhook_url="http://127.0.0.1:1/")) == 0
    with engine.connect() as connection:
        assert waiting_rows(connection) == []
