"""Where a channel that somebody entered may connect to."""

import socket
from typing import Any

import pytest

from tests.support.http_sink import HttpSink
from tests.support.snapshots import channel, snapshot
from watcher_server.alerts.channels.dialling import is_public
from watcher_server.alerts.sending import send
from watcher_server.settings import load_settings

KEYS = ["whsec_" + "A" * 32]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "127.1",
        "localhost",
        "0.0.0.0",  # noqa: S104 - it is refused
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "224.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00::1]",
        "[ff02::1]",
    ],
)
def test_what_is_no_public_address_is_refused_in_each_of_its_spellings(host: str) -> None:
    webhook = channel("webhook", url=f"http://{host}:9/", signing_keys=KEYS)

    outcome = send(webhook, snapshot(), load_settings())

    assert outcome.sent_to is None
    assert "is no public address; WATCHER_ALERT_PRIVATE_HOSTS names" in (outcome.error or "")


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "hooks.example:99999"])
def test_what_is_no_name_of_a_host_is_certainly_not_reached(host: str) -> None:
    outcome = send(channel("webhook", url=f"http://{host}/s3cret", signing_keys=KEYS), snapshot(), load_settings())

    assert (outcome.error or "").startswith("The webhook could not be reached (")
    assert "s3cret" not in (outcome.error or "")
    assert not outcome.perhaps_sent


def test_a_host_that_the_operator_names_may_be_reached(sink: HttpSink) -> None:
    webhook = channel("webhook", url=sink.url, signing_keys=KEYS)

    assert send(webhook, snapshot(), load_settings()).sent_to is None
    assert send(webhook, snapshot(), load_settings(alert_private_hosts="intern.example, 127.0.0.1")).sent_to
    assert len(sink.received) == 1


def test_an_address_from_the_environment_is_the_operators_own(sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_URL", sink.url)

    outcome = send(channel("webhook", url={"env": "HOOK_URL"}, signing_keys=KEYS), snapshot(), load_settings())

    assert outcome.sent_to == "webhook"


def test_a_resolver_that_changes_its_mind_is_asked_once(sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(sink.url.rpartition(":")[2])
    asked: list[str] = []
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name != "rebinding.example":
            return real(host, *args, **kwargs)
        asked.append(name)
        return real(next(answers), *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    webhook = channel("webhook", url=f"http://rebinding.example:{port}/", signing_keys=KEYS)

    outcome = send(webhook, snapshot(), load_settings())

    assert (outcome.sent_to, len(asked), sink.received) == (None, 1, [])


def test_no_redirect_is_followed(sink: HttpSink) -> None:
    sink.say(302, headers={"Location": f"{sink.url}/elsewhere"})
    webhook = channel("webhook", url=f"{sink.url}/here", signing_keys=KEYS)

    outcome = send(webhook, snapshot(), load_settings(alert_private_hosts="127.0.0.1"))

    assert outcome.error == "The webhook answered with status 302"
    assert [each.path for each in sink.received] == ["/here"]


def test_an_answer_is_shown_as_its_status_and_never_as_its_body(sink: HttpSink) -> None:
    sink.say(400, "the secret of the other side")
    webhook = channel("webhook", url=sink.url, signing_keys=KEYS)

    outcome = send(webhook, snapshot(), load_settings(alert_private_hosts="127.0.0.1"))

    assert outcome.error == "The webhook answered with status 400"
    assert outcome.refused
