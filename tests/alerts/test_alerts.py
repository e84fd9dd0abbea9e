"""Alerts: how they read, and how they reach people exactly once."""

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support.rows import rows
from watcher_server.alerts.models import Alert
from watcher_server.alerts.service import (
    DeliveryError,
    Level,
    NewAlert,
    alert_text,
    deliver_alert,
    raise_alert,
    record_failed_delivery,
    redeliver_alerts,
)
from watcher_server.queueing.models import OutboxMessage
from watcher_server.settings import Settings, load_settings

STALE = NewAlert(
    dedupe_key="freshness:1",
    level=Level.WARNING,
    title="Freshness Check - Pipeline DML",
    message="Freshness Check Failed - 1 NEW pipeline(s) overdue",
    details=[("orders", "never written")],
)


@dataclass
class Slack:
    """A local place for webhooks to arrive at; it answers with ``status``."""

    url: str = ""
    status: int = 200
    texts: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return load_settings(slack_webhook_url=self.url)


@pytest.fixture
def slack() -> Iterator[Slack]:
    sink = Slack()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sink.texts.append(json.loads(body)["text"])
            self.send_response(sink.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Requests are seen in ``texts``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        sink.url = f"http://127.0.0.1:{server.server_port}/services/a-secret"
        yield sink
        server.shutdown()
        thread.join()


def put(engine: Engine, alert: NewAlert = STALE) -> bool:
    with engine.begin() as connection:
        return raise_alert(connection, alert)


def deliver(engine: Engine, settings: Settings) -> str | None:
    with engine.begin() as connection:
        return deliver_alert(connection, 1, settings)


def stored(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        (alert,) = rows(connection, Alert)
        return alert


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
    assert (message["task_name"], message["queue"]) == ("deliver_alert_task", "scheduled")
    assert message["kwargs"] == {"alert_id": stored(engine)["id"]}


def test_it_arrives_at_slack_once_however_often_it_is_delivered(engine: Engine, slack: Slack) -> None:
    put(engine)

    with ThreadPoolExecutor(4) as pool:
        channels = list(pool.map(lambda _: deliver(engine, slack.settings), range(4)))

    assert sorted(map(str, channels)) == ["None", "None", "None", "slack"]
    (text,) = slack.texts
    assert text.startswith("⚠️ WARNING\nFreshness Check - Pipeline DML\nTimestamp: ")
    assert text.endswith("1 NEW pipeline(s) overdue\n\nDetails:\n• orders: never written")
    alert = stored(engine)
    assert (alert["delivered_to"], alert["attempts"], alert["last_error"]) == ("slack", 1, None)
    assert alert["delivered_at"] is not None


def test_without_a_webhook_it_is_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    put(engine)

    with caplog.at_level(logging.WARNING, "watcher_server.alerts"):
        assert deliver(engine, load_settings()) == "log"

    assert "Freshness Check Failed - 1 NEW pipeline(s) overdue" in caplog.text


@pytest.mark.parametrize("status", [404, 429, 500, 302])
def test_a_refusal_is_kept_and_tried_again(engine: Engine, slack: Slack, status: int) -> None:
    put(engine)
    slack.status = status

    with pytest.raises(DeliveryError, match=f"Slack answered with status {status}") as refused:
        deliver(engine, slack.settings)
    with engine.begin() as connection:
        record_failed_delivery(connection, 1, str(refused.value))
    slack.status = 200
    assert deliver(engine, slack.settings) == "slack"

    alert = stored(engine)
    assert (alert["delivered_to"], alert["attempts"], alert["last_error"]) == ("slack", 2, None)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/services/a-secret", "https:///a-secret"])
def test_an_unreachable_webhook_is_an_error_that_does_not_tell_it(engine: Engine, url: str) -> None:
    put(engine)

    with pytest.raises(DeliveryError, match="Slack could not be reached") as failed:
        deliver(engine, load_settings(slack_webhook_url=url))

    assert "a-secret" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_an_alert_that_is_gone_is_no_error(engine: Engine) -> None:
    assert deliver(engine, load_settings()) is None


def test_a_name_can_neither_mention_a_channel_nor_write_a_line_of_its_own(engine: Engine, slack: Slack) -> None:
    message = "stale <!channel>\n🚨 CRITICAL & <https://evil.example|ok>"
    put(engine, replace(STALE, message=message, details=[("a\nb", "c\r\nd")]))

    deliver(engine, slack.settings)

    received = slack.texts[0]
    assert "Message: stale &lt;!channel&gt; 🚨 CRITICAL &amp; &lt;https://evil.example|ok&gt;" in received
    assert "• a b: c d" in received


def test_what_retries_could_not_deliver_is_tried_again_for_a_day(engine: Engine) -> None:
    for key in ("new", "waiting", "old", "delivered"):
        put(engine, replace(STALE, dedupe_key=key))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM outbox"))
        connection.execute(text("UPDATE alert SET created_at = now() - interval '1 hour' WHERE dedupe_key <> 'new'"))
        connection.execute(text("UPDATE alert SET created_at = now() - interval '2 days' WHERE dedupe_key = 'old'"))
        connection.execute(text("UPDATE alert SET delivered_at = now() WHERE dedupe_key = 'delivered'"))

        assert redeliver_alerts(connection, max_age_hours=24) == 1
        assert connection.scalar(text("SELECT kwargs FROM outbox")) == {"alert_id": 2}


def test_the_webhook_is_in_no_log(engine: Engine, slack: Slack, caplog: pytest.LogCaptureFixture) -> None:
    put(engine)

    with caplog.at_level(logging.INFO):
        deliver(engine, slack.settings)

    assert "a-secret" not in caplog.text
