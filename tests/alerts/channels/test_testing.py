"""The test of a channel."""

import pytest
from sqlalchemy import Engine

from tests.conftest import MakeClient
from tests.support.channels import add_channel, channel_named
from tests.support.http_sink import HttpSink
from tests.support.notifications import put
from tests.support.slack import slack_sink

PRIVATE = {"alert_private_hosts": "127.0.0.1"}
KEYS = ["whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk"]


async def test_a_test_sends_an_incident_opened_and_resolved_and_marked(
    engine: Engine, make_client: MakeClient, sink: HttpSink
) -> None:
    add_channel(engine, "hook", "webhook", url=sink.url, signing_keys=KEYS)

    async with make_client(**PRIVATE) as client:
        answer = await client.post("/alerting/channels/hook/test")

    assert answer.json() == {"channel": "hook", "arrived": True, "sent_to": "webhook", "error": None}
    assert [each.json["type"] for each in sink.received] == ["incident.opened", "incident.resolved"]
    assert all(each.json["data"]["message"].startswith("TEST: ") for each in sink.received)


async def test_a_test_that_arrives_shows_that_a_channel_is_broken_no_more(
    engine: Engine, make_client: MakeClient, sink: HttpSink
) -> None:
    add_channel(engine, "hook", "webhook", url=sink.url, signing_keys=KEYS)
    sink.say(500)

    async with make_client(**PRIVATE) as client:
        failed = (await client.post("/alerting/channels/hook/test")).json()
        assert (failed["arrived"], failed["error"]) == (False, "The webhook answered with status 500")
        assert channel_named(engine, "hook")["last_error"] == "The webhook answered with status 500"

        await client.post("/alerting/channels/hook/test")

    assert channel_named(engine, "hook")["last_error"] is None
    assert channel_named(engine, "hook")["last_sent_at"] is not None


async def test_the_channel_of_the_settings_can_be_tested_too(engine: Engine, make_client: MakeClient) -> None:
    put(engine, "waits")
    with slack_sink() as slack:
        async with make_client(slack_webhook_url=slack.url) as client:
            answer = await client.post("/alerting/channels/default/test")

    assert answer.json()["sent_to"] == "slack"
    assert [text.splitlines()[0] for text in slack.texts] == ["⚠️ WARNING", "✅ RESOLVED"]


async def test_a_channel_that_there_is_not_is_404(engine: Engine, make_client: MakeClient) -> None:
    async with make_client() as client:
        answer = await client.post("/alerting/channels/nowhere/test")

    assert (answer.status_code, answer.json()["detail"]) == (404, "No channel has the name 'nowhere'.")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            {"type": "teams", "url": "https://acme.webhook.office.com/x"},
            "Microsoft has retired acme.webhook.office.com",
        ),
        ({"type": "discord", "url": "discord.com/api"}, "must begin with https:// or http://"),
    ],
)
async def test_an_address_that_cannot_work_is_refused_when_it_is_entered(
    engine: Engine, make_client: MakeClient, spec: dict[str, str], sentence: str
) -> None:
    async with make_client(secret_key="k" * 44) as client:
        answer = await client.put("/alerting/channels/wrong", json=spec)

    assert answer.status_code == 422
    assert sentence in answer.text
