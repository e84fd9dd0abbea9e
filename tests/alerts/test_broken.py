"""A broken channel: people are told through another, and on every page."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from tests.support.channels import add_channel, add_route
from tests.support.http_sink import HttpSink, http_sink
from tests.support.notifications import add_incident, put
from tests.support.routing import raise_about
from tests.support.rows import ago
from watcher_server.alerts.broken import read_health
from watcher_server.alerts.delivery import deliver_late_alerts
from watcher_server.incidents.watcher import check_watcher
from watcher_server.settings import load_settings

pytestmark = pytest.mark.usefixtures("valkey")
KEYS = ["whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk"]


def check(engine: Engine) -> None:
    with engine.begin() as connection:
        check_watcher(connection, load_settings())


def break_channel(engine: Engine, name: str, **fields: Any) -> None:
    values = {"gone": False, "failing_since": ago(minutes=11), "failures": 7, "last_error": "status 500", **fields}
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO channel (name) VALUES (:name) ON CONFLICT DO NOTHING"), {"name": name})
        statement = """
            UPDATE channel SET gone = :gone, failing_since = :failing_since, failures = :failures,
                last_error = :last_error WHERE name = :name
        """
        connection.execute(text(statement), {"name": name, **values})


def waiting(engine: Engine) -> list[tuple[str, str]]:
    statement = """
        SELECT channel, message FROM notification JOIN alert ON alert.id = alert_id WHERE state = 'waiting'
        ORDER BY channel, notification.id
    """
    with engine.connect() as connection:
        return [(row.channel, row.message) for row in connection.execute(text(statement))]


BROKEN = "The channel 'pager' does not deliver: status 500"


@pytest.fixture
def channels(engine: Engine) -> Engine:
    """A pager that routes to a mailbox when it is broken, and a chat."""
    for name in ("pager", "mailbox", "chat"):
        add_channel(engine, name, "webhook", url="http://127.0.0.1:9", signing_keys=KEYS)
    return engine


def test_its_fallback_is_told_in_the_order_in_which_it_was_found(channels: Engine) -> None:
    add_route(channels, "finance", match={}, to=["pager"], fallback="mailbox")
    orders = add_incident(channels)
    put(channels, "orders is stale", orders, change="opened")
    put(channels, "billing is stale", add_incident(channels, "billing"), change="opened")
    break_channel(channels, "pager", gone=True)
    put(channels, "orders is worse", orders, change="worse")

    check(channels)

    told = [message for channel, message in waiting(channels) if channel == "mailbox"]
    assert told[:3] == ["orders is stale", "billing is stale", "orders is worse"]


def test_its_fallback_is_told_that_it_is_broken_and_what_waited(channels: Engine) -> None:
    add_route(channels, "finance", to=["pager"], fallback="mailbox")
    put(channels, "orders is stale", add_incident(channels), change="worse", channel="pager")
    put(channels, "for tomorrow", channel="pager", reason="digest at 08:30", next_try_at=ago(hours=-9))
    put(channels, "for today", channel="pager", reason="digest at 08:30", next_try_at=ago(hours=1))
    break_channel(channels, "pager")

    check(channels)
    check(channels)

    assert [told for told in waiting(channels) if told[0] == "mailbox"] == [
        ("mailbox", "orders is stale"),
        ("mailbox", "for today"),
        ("mailbox", BROKEN),
    ]
    assert "chat" not in {channel for channel, _ in waiting(channels)}


def test_the_fallback_of_an_escalation_counts_too(channels: Engine) -> None:
    add_route(channels, "finance", to=["chat"], escalate=[{"after": "15m", "to": ["pager"]}], fallback="mailbox")
    break_channel(channels, "pager", gone=True)

    check(channels)

    told = {channel for channel, _ in waiting(channels)}
    assert "mailbox" in told
    assert "chat" not in told


def test_without_a_fallback_every_other_channel_is_told(channels: Engine) -> None:
    put(channels, "orders is stale", channel="pager")
    break_channel(channels, "pager")
    break_channel(channels, "chat")

    check(channels)

    told = waiting(channels)
    assert ("mailbox", "orders is stale") in told
    assert ("default", "orders is stale") in told
    assert ("mailbox", BROKEN) in told
    assert ("chat", "orders is stale") not in told


def test_what_fails_is_told_by_its_fallback_once(channels: Engine) -> None:
    add_route(channels, "finance", to=["pager", "chat"], fallback="mailbox", match={})
    incident = add_incident(channels)
    break_channel(channels, "pager")
    raise_about(channels, incident)
    assert [told[0] for told in waiting(channels)] == ["chat", "pager"]

    check(channels)

    assert [told for told in waiting(channels) if told[1] == "wrong"] == [
        ("chat", "wrong"),
        ("mailbox", "wrong"),
        ("pager", "wrong"),
    ]


def test_a_channel_that_was_removed_takes_the_place_of_none(channels: Engine) -> None:
    put(channels, "orders is stale", channel="pager")
    break_channel(channels, "pager")
    break_channel(channels, "removed", failing_since=None, failures=0)

    check(channels)

    assert "removed" not in {channel for channel, _ in waiting(channels)}
    with channels.connect() as connection:
        assert list(read_health(connection)) == ["default", "chat", "mailbox", "pager"]


def test_what_the_channel_of_the_settings_does_not_deliver_goes_elsewhere(channels: Engine) -> None:
    put(channels, "orders is stale")
    break_channel(channels, "default")

    check(channels)

    assert ("mailbox", "orders is stale") in waiting(channels)


def test_what_the_log_alone_could_be_told_is_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    break_channel(engine, "default")

    check(engine)

    assert "The channel 'default' does not deliver: status 500" in caplog.text


def test_it_arrives_elsewhere_as_it_is_by_then(engine: Engine, sink: HttpSink) -> None:
    add_channel(engine, "pager", "webhook", url="http://127.0.0.1:9", signing_keys=KEYS)
    add_channel(engine, "mailbox", "webhook", url=sink.url, signing_keys=KEYS)
    add_route(engine, "finance", to=["pager"], fallback="mailbox")
    incident = add_incident(engine)
    put(engine, "it began", incident, change="opened", channel="pager")
    put(engine, "it is worse", incident, change="worse", channel="pager")
    break_channel(engine, "pager")
    check(engine)

    deliver_late_alerts(engine, load_settings(alert_private_hosts="127.0.0.1"), late_seconds=0, seconds=20)

    said = [each.json["data"]["message"] for each in sink.received]
    assert said == ["it is worse", BROKEN]
    assert sink.received[0].json["data"]["details"][-1][0] == "Meanwhile"


@pytest.fixture
def sink() -> Any:
    with http_sink() as found:
        yield found


async def test_every_page_says_so(channels: Engine, client: httpx.AsyncClient) -> None:
    browser = {"Accept": "text/html"}
    assert "Alerts do not arrive" not in (await client.get("/ui", headers=browser)).text
    break_channel(channels, "pager")

    for path in ("/ui", "/ui/pipelines", "/ui/settings", "/reporting"):
        page = (await client.get(path, headers=browser)).text
        assert "Alerts do not arrive: the channel pager is broken." in page, path


async def test_who_is_not_logged_in_is_told_of_no_channel(channels: Engine, make_client: MakeClient) -> None:
    break_channel(channels, "pager")
    async with make_client(require_token=True) as client:
        page = await client.get("/login", headers={"Accept": "text/html"})

    assert page.status_code == 200
    assert "pager" not in page.text


async def test_prometheus_sees_which_channels_work(channels: Engine, client: httpx.AsyncClient) -> None:
    break_channel(channels, "pager", failing_since=ago(seconds=5))

    metrics = (await client.get("/metrics")).text

    assert 'watcher_channel_up{channel="pager"} 0.0' in metrics
    assert 'watcher_channel_up{channel="chat"} 1.0' in metrics
    assert 'watcher_channel_up{channel="default"} 1.0' in metrics
