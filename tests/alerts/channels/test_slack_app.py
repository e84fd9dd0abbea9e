"""A Slack app: threads, marks on the first message, and what Slack says in the body of a 200."""

from typing import Any

import pytest

from tests.support.http_sink import HttpSink
from tests.support.snapshots import channel, resolved, snapshot
from watcher_server.alerts.channels import slack_app
from watcher_server.alerts.channels.snapshot import Parent, Snapshot
from watcher_server.alerts.outcome import Outcome
from watcher_server.alerts.sending import send
from watcher_server.settings import Settings

FIRST = Parent("17.1", snapshot().text, is_over=True)


@pytest.fixture(autouse=True)
def _local_slack(sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_app, "_API", f"{sink.url}/api")


def post(told: Snapshot, settings: Settings) -> Outcome:
    return send(channel("slack", token="xoxb-secret", channel="C0123"), told, settings)


def posted(ts: str, thread: str | None = None) -> dict[str, Any]:
    message = {"text": "…"} | ({"thread_ts": thread} if thread else {})
    return {"ok": True, "ts": ts, "message": message}


def test_the_first_message_is_posted_with_blocks_and_remembered(sink: HttpSink, settings: Settings) -> None:
    sink.say(word=posted("17.1"))

    assert post(snapshot(), settings) == Outcome(sent_to="slack", ref="17.1")

    (request,) = sink.received
    assert (request.path, request.headers["authorization"]) == ("/api/chat.postMessage", "Bearer xoxb-secret")
    assert request.json["channel"] == "C0123"
    assert "thread_ts" not in request.json
    assert [block["type"] for block in request.json["blocks"]] == ["header", "section", "section", "actions"]


def test_what_comes_later_stands_in_the_thread_and_the_first_message_tells_the_end(
    sink: HttpSink, settings: Settings
) -> None:
    sink.say(word=posted("17.2", "17.1"))
    sink.say(word={"ok": True})

    assert post(resolved(parents=[FIRST]), settings) == Outcome(sent_to="slack", ref="17.1")

    reply, update = sink.received
    assert reply.json["thread_ts"] == "17.1"
    assert (update.path, update.json["ts"]) == ("/api/chat.update", "17.1")
    assert update.json["text"].startswith("✅ RESOLVED\n")
    assert "Pipeline Failing" in update.json["text"]


def test_a_thread_whose_first_message_was_deleted_is_begun_anew_and_said_so(sink: HttpSink, settings: Settings) -> None:
    sink.say(word=posted("18.1"))

    outcome = post(snapshot(change="worse", parents=[FIRST]), settings)

    assert outcome == Outcome(sent_to="slack", ref="18.1", error="The message that it belongs under is gone from Slack")


def test_a_mark_that_fails_does_not_fail_the_message(sink: HttpSink, settings: Settings) -> None:
    sink.say(word=posted("17.2", "17.1"))
    sink.say(500)

    outcome = post(resolved(parents=[FIRST]), settings)

    assert (outcome.sent_to, outcome.error) == ("slack", "Slack answered with status 500")


def test_an_end_of_several_threads_stands_by_itself_and_marks_each(sink: HttpSink, settings: Settings) -> None:
    sink.say(word=posted("19.1"))
    sink.word = '{"ok": true}'

    post(resolved(parents=[FIRST, Parent("17.5", "another", is_over=True)]), settings)

    assert "thread_ts" not in sink.received[0].json
    assert [each.json["ts"] for each in sink.received[1:]] == ["17.1", "17.5"]


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("token_revoked", Outcome(error="Slack refused it (token_revoked)", gone=True)),
        ("not_in_channel", Outcome(error="Slack refused it (not_in_channel)", gone=True)),
        ("msg_too_long", Outcome(error="Slack refused it (msg_too_long)", refused=True)),
        ("ratelimited", Outcome(error="Slack refused it (ratelimited)", pause_seconds=30.0)),
        ("internal_error", Outcome(error="Slack refused it (internal_error)")),
        ("xoxb-secret is not it", Outcome(error="Slack refused it")),
    ],
)
def test_slack_refuses_in_the_body_of_a_200(sink: HttpSink, settings: Settings, word: str, outcome: Outcome) -> None:
    sink.say(word={"ok": False, "error": word})

    assert post(snapshot(), settings) == outcome


def test_it_waits_as_long_as_slack_asks_for(sink: HttpSink, settings: Settings) -> None:
    sink.say(429, {"ok": False, "error": "ratelimited"}, headers={"Retry-After": "17"})

    assert post(snapshot(), settings).pause_seconds == 17


def test_half_an_answer_may_have_arrived(sink: HttpSink, settings: Settings) -> None:
    sink.say(is_half=True)
    assert post(snapshot(), settings).perhaps_sent

    sink.say(word='{"ok": tr', headers={"Content-Length": "500"})
    assert post(snapshot(), settings).perhaps_sent


def test_names_cannot_mention_anybody(sink: HttpSink, settings: Settings) -> None:
    sink.say(word=posted("17.1"))

    post(snapshot(title="<!channel>", message="<@U1>", details=[("x", "*y*")]), settings)

    assert "<!channel>" not in sink.received[0].json["text"]
    texts = [block["text"]["type"] for block in sink.received[0].json["blocks"] if "text" in block]
    assert set(texts) == {"plain_text"}


def test_a_webhook_of_slack_gets_text_and_blocks(sink: HttpSink, settings: Settings) -> None:
    outcome = send(channel("slack", url=f"{sink.url}/services/x"), snapshot(), settings)

    assert outcome == Outcome(sent_to="slack")
    assert sink.received[0].json["blocks"][0]["text"]["text"] == "❌ Pipeline Failing"
