"""Alerts: how they read, and how they reach people exactly once."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.notifications import deliver, make_due, notifications
from tests.support.rows import rows
from tests.support.slack import SlackSink, slack_sink
from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, alert_text, raise_alert
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.models import OutboxMessage

STALE = NewAlert(
    dedupe_key="freshness:1",
    level=Level.WARNING,
    title="Freshness Check - Pipeline DML",
    message="Freshness Check Failed - 1 NEW pipeline(s) overdue",
    details=[("orders", "never written")],
)


@pytest.fixture
def slack() -> Iterator[SlackSink]:
    with slack_sink() as sink:
        yield sink


def to(sink: SlackSink) -> Settings:
    return load_settings(slack_webhook_url=sink.url)


def put(engine: Engine, alert: NewAlert = STALE) -> bool:
    with engine.begin() as connection:
        return raise_alert(connection, alert) is not None


def stored(engine: Engine) -> dict[str, Any]:
    (notification,) = notifications(engine)
    return notification


@pytest.mark.parametrize(
    ("level", "line"),
    [
        ("INFO", "ℹ️ INFO"),  # noqa: RUF001 - the symbol of the contract
        ("WARNING", "⚠️ WARNING"),
        ("ERROR", "❌ ERROR"),
        ("CRITICAL", "🚨 CRITICAL"),
        ("RESOLVED", "✅ RESOLVED"),
    ],
)
def test_it_reads_level_title_timestamp_message_details(level: str, line: str) -> None:
    moment = datetime(2025, 9, 28, 8, 4, 26, tzinfo=timezone(timedelta(hours=2)))

    text = alert_text(
        level=level,
        title="Celery Queue Alert",
        message="Queue has 2367 pending tasks",
        details=[("Messages in queue", "2367"), ("Queue", "celery")],
        created_at=moment,
    )

    assert text.split("\n") == [
        line,
        "Celery Queue Alert",
        "Timestamp: 2025-09-28 06:04:26 UTC",
        "Message: Queue has 2367 pending tasks",
        "",
        "Details:",
        "• Messages in queue: 2367",
        "• Queue: celery",
    ]


def test_without_details_the_message_is_the_end() -> None:
    text = alert_text(level="INFO", title="T", message="M", details=[], created_at=datetime.now(UTC))

    assert text.endswith("Message: M")


def test_a_text_longer_than_a_reader_reads_is_cut() -> None:
    details = [("name " * 30, "value " * 30)] * 30

    text = alert_text(level="INFO", title="T", message="M", details=details, created_at=datetime.now(UTC))

    assert len(text) == 3500
    assert text.endswith("…")


def test_one_cause_is_raised_once_and_its_delivery_queued_with_it(engine: Engine) -> None:
    assert (put(engine), put(engine)) == (True, False)

    with engine.connect() as connection:
        (message,) = rows(connection, OutboxMessage)
    assert (message["task_name"], message["queue"]) == ("deliver_alert_task", "alerts")
    assert message["kwargs"] == {"alert_id": stored(engine)["alert_id"]}


def test_one_that_waits_for_others_is_sent_after_that(engine: Engine, slack: SlackSink) -> None:
    put(engine, replace(STALE, wait_seconds=30))

    assert deliver(engine, to(slack)) == 0
    with engine.connect() as connection:
        (message,) = rows(connection, OutboxMessage)
    assert message["due_at"] == stored(engine)["next_try_at"]


def test_it_arrives_at_slack_once_however_often_it_is_delivered(engine: Engine, slack: SlackSink) -> None:
    put(engine)

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: deliver(engine, to(slack)), range(4)))

    assert sorted(told) == [0, 0, 0, 1]
    (text,) = slack.texts
    assert text.startswith("⚠️ WARNING\nFreshness Check - Pipeline DML\nTimestamp: ")
    assert text.endswith("1 NEW pipeline(s) overdue\n\nDetails:\n• orders: never written")
    notification = stored(engine)
    assert (notification["state"], notification["sent_to"]) == ("sent", "slack")
    assert (notification["attempts"], notification["last_error"]) == (1, None)
    assert notification["sent_at"] is not None


def test_without_a_webhook_it_is_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    put(engine)

    with caplog.at_level(logging.WARNING, "watcher_server.alerts"):
        assert deliver(engine, load_settings()) == 1

    assert "Freshness Check Failed - 1 NEW pipeline(s) overdue" in caplog.text
    assert stored(engine)["sent_to"] == "log"


@pytest.mark.parametrize("status", [404, 429, 500, 302, 400])
def test_a_refusal_is_kept_and_tried_again(engine: Engine, slack: SlackSink, status: int) -> None:
    put(engine)
    slack.status = status

    assert deliver(engine, to(slack)) == 0
    assert (stored(engine)["state"], stored(engine)["last_error"]) == (
        "waiting",
        f"Slack answered with status {status}",
    )
    slack.status = 200
    make_due(engine)
    assert deliver(engine, to(slack)) == 1

    notification = stored(engine)
    assert (notification["state"], notification["attempts"], notification["last_error"]) == ("sent", 2, None)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/services/a-secret", "https:///a-secret"])
def test_an_unreachable_webhook_is_an_error_that_does_not_tell_it(engine: Engine, url: str) -> None:
    put(engine)

    assert deliver(engine, load_settings(slack_webhook_url=url)) == 0

    notification = stored(engine)
    assert "Slack could not be reached" in notification["last_error"]
    assert "a-secret" not in notification["last_error"]
    assert not notification["perhaps_sent"]


def test_a_name_can_neither_mention_a_channel_nor_write_a_line_of_its_own(engine: Engine, slack: SlackSink) -> None:
    message = "stale <!channel>\n🚨 CRITICAL & <https://evil.example|ok>"
    put(engine, replace(STALE, message=message, details=[("a\nb", "c\r\nd")]))

    deliver(engine, to(slack))

    received = slack.texts[0]
    assert "Message: stale &lt;!channel&gt; 🚨 CRITICAL &amp; &lt;https://evil.example|ok&gt;" in received
    assert "• a b: c d" in received


def test_the_webhook_is_in_no_log(engine: Engine, slack: SlackSink, caplog: pytest.LogCaptureFixture) -> None:
    put(engine)

    with caplog.at_level(logging.INFO):
        deliver(engine, to(slack))

    assert "a-secret" not in caplog.text
