"""Alerts on their way through lanes of different channels: threads, parts, and nothing twice."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from tests.support.channels import add_channel, add_route, channel_named
from tests.support.http_sink import HttpSink, http_sink
from tests.support.notifications import add_incident, make_due, notifications, put
from watcher_server.alerts.channels import pagerduty, slack_app
from watcher_server.alerts.delivery import deliver_late_alerts
from watcher_server.alerts.lanes import tell
from watcher_server.alerts.levels import Level
from watcher_server.settings import Settings, load_settings


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpSink]:
    with http_sink() as found:
        monkeypatch.setattr(slack_app, "_API", found.url)
        monkeypatch.setattr(pagerduty, "_URLS", {"us": found.url})
        yield found


@pytest.fixture
def settings() -> Settings:
    return load_settings(alert_private_hosts="127.0.0.1")


@pytest.fixture
def app(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A Slack app."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    add_channel(engine, "app", "slack", token={"env": "SLACK_BOT_TOKEN"}, channel="C0123")
    return engine


def resolve(engine: Engine, incident: int) -> None:
    with engine.begin() as connection:
        statement = "UPDATE incident SET state = 'resolved', resolved_at = now(), resolution = 'auto' WHERE id = :id"
        connection.execute(text(statement), {"id": incident})


def test_the_end_of_an_incident_stands_in_the_thread_of_its_beginning(
    app: Engine, sink: HttpSink, settings: Settings
) -> None:
    incident = add_incident(app)
    sink.say(word={"ok": True, "ts": "17.1", "message": {}})
    put(app, "it fails", incident, change="opened", channel="app")
    assert tell(app, "app", settings, seconds=20) == 1

    resolve(app, incident)
    sink.say(word={"ok": True, "ts": "17.2", "message": {"thread_ts": "17.1"}})
    sink.word = '{"ok": true}'
    put(app, "it works", incident, level=Level.RESOLVED, change="resolved", channel="app")
    assert tell(app, "app", settings, seconds=20) == 1

    first, reply, mark = sink.received
    assert "thread_ts" not in first.json
    assert reply.json["thread_ts"] == "17.1"
    assert (mark.path, mark.json["ts"]) == ("/chat.update", "17.1")
    assert mark.json["text"].startswith("✅ RESOLVED")
    assert "it fails" in mark.json["text"]
    assert [row["ref"] for row in notifications(app)] == ["17.1", "17.1"]


def test_a_route_that_tells_all_updates_begins_no_thread(app: Engine, sink: HttpSink, settings: Settings) -> None:
    add_route(app, "loud", to=["app"], updates="all")
    incident = add_incident(app)
    for number, change in enumerate(("opened", "worse")):
        sink.say(word={"ok": True, "ts": f"17.{number}", "message": {}})
        put(app, change, incident, change=change, channel="app", route="loud")
        tell(app, "app", settings, seconds=20)

    assert [each.json.get("thread_ts") for each in sink.received] == [None, None]


def test_an_incident_that_was_told_on_another_channel_has_no_thread_here(
    app: Engine, sink: HttpSink, settings: Settings
) -> None:
    incident = add_incident(app)
    put(app, "elsewhere", incident, change="opened", state="sent", ref="<mail@acme.example>", channel="mail")
    sink.say(word={"ok": True, "ts": "17.1", "message": {}})
    put(app, "here", incident, change="worse", channel="app")

    assert tell(app, "app", settings, seconds=20) == 1
    assert "thread_ts" not in sink.received[0].json


def test_each_incident_of_a_message_is_triggered_once_although_one_is_refused_first(
    engine: Engine, sink: HttpSink, settings: Settings
) -> None:
    add_channel(engine, "pager", "pagerduty", routing_key="R0")
    put(engine, "many", *(add_incident(engine, f"pipeline {n}") for n in range(3)), change="opened", channel="pager")
    sink.say(202)
    sink.say(429, headers={"Retry-After": "60"})
    assert tell(engine, "pager", settings, seconds=20) == 0
    assert len(notifications(engine)[0]["arrived"]) == 1

    make_due(engine)
    assert tell(engine, "pager", settings, seconds=20) == 1

    sources = [each.json["payload"]["source"] for each in sink.received]
    assert sources == ["pipeline 0", "pipeline 1", "pipeline 1", "pipeline 2"]


def test_a_dead_channel_delays_no_other(engine: Engine, sink: HttpSink, settings: Settings) -> None:
    add_channel(engine, "dead", "webhook", url="http://127.0.0.1:9/", signing_keys=["whsec_b2xk"])
    add_channel(engine, "well", "webhook", url=sink.url, signing_keys=["whsec_b2xk"])
    for name in ("dead", "well"):
        put(engine, f"to {name}", channel=name)

    deliver_late_alerts(engine, settings, late_seconds=0, seconds=2)

    assert [each.json["data"]["message"] for each in sink.received] == ["to well"]
    assert channel_named(engine, "dead")["last_error"] == "The webhook could not be reached (ConnectError)"


def test_a_channel_whose_secret_this_process_lacks_fails_with_a_sentence(engine: Engine, settings: Settings) -> None:
    add_channel(engine, "pager", "pagerduty", routing_key={"env": "NOT_HERE"})
    put(engine, channel="pager")

    assert tell(engine, "pager", settings, seconds=1) == 0
    assert notifications(engine)[0]["last_error"] == "The variable NOT_HERE is not set in this process"
