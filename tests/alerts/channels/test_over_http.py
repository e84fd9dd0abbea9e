"""Teams, Discord, PagerDuty, webhooks and Apprise: what each is sent, and what its answers mean."""

import json
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.http_sink import HttpSink
from tests.support.snapshots import about, channel, resolved, snapshot
from watcher_server.alerts.channels import pagerduty, teams
from watcher_server.alerts.outcome import Outcome
from watcher_server.alerts.sending import send
from watcher_server.settings import Settings, load_settings

OLD_KEY, NEW_KEY = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk", "whsec_bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3"
# As many and as long as can be.
MANY = [(f"pipeline {number} {'x' * 300}", "ünï" * 700) for number in range(21)]
INCIDENTS = [about(number, subject="s" * 150, detail="ä" * 2_000) for number in range(300)]


class TestTeams:
    def test_a_workflow_gets_an_adaptive_card(self, sink: HttpSink, settings: Settings) -> None:
        sink.say(202)

        assert send(channel("teams", url=sink.url), snapshot(), settings) == Outcome(sent_to="teams")

        (attachment,) = sink.received[0].json["attachments"]
        assert sink.received[0].json["type"] == "message"
        assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        assert (attachment["content"]["type"], attachment["content"]["version"]) == ("AdaptiveCard", "1.4")
        assert attachment["content"]["actions"][0]["url"] == "https://watcher.example/ui/incidents/12"

    def test_a_card_has_at_most_20_kb_and_counts_what_it_leaves_out(self) -> None:
        card = teams.render(snapshot(details=MANY))

        assert len(json.dumps(card)) <= 20_000
        assert card["attachments"][0]["content"]["body"][-1]["inlines"][-1]["text"].endswith(" more")

    def test_a_connector_of_before_is_refused_with_a_sentence(self, settings: Settings) -> None:
        outcome = send(channel("teams", url="https://acme.webhook.office.com/webhookb2/x"), snapshot(), settings)

        assert outcome.gone
        assert "Microsoft has retired acme.webhook.office.com: make a workflow in Teams" in (outcome.error or "")


class TestDiscord:
    def test_an_embed_mentions_nobody_and_its_id_is_kept(self, sink: HttpSink, settings: Settings) -> None:
        sink.say(word={"id": "4711"})

        outcome = send(channel("discord", url=f"{sink.url}/h?thread_id=5"), snapshot(message="@everyone *x*"), settings)

        assert outcome == Outcome(sent_to="discord", ref="4711")
        (request,) = sink.received
        assert request.path == "/h?thread_id=5&wait=true"
        assert request.json["allowed_mentions"] == {"parse": []}
        assert request.json["embeds"][0]["description"].startswith(r"\@everyone \*x\*")

    def test_it_waits_as_long_as_discord_asks_for(self, sink: HttpSink, settings: Settings) -> None:
        sink.say(429, {"retry_after": 12.5})

        assert send(channel("discord", url=sink.url), snapshot(), settings).pause_seconds == 12.5

    @pytest.mark.parametrize(("status", "gone"), [(401, True), (403, True), (404, True), (400, False), (500, False)])
    def test_a_webhook_that_is_gone_is_told_from_what_is_refused(
        self, sink: HttpSink, settings: Settings, status: int, *, gone: bool
    ) -> None:
        sink.say(status)

        assert send(channel("discord", url=sink.url), snapshot(), settings).gone is gone

    def test_long_messages_are_cut(self, sink: HttpSink, settings: Settings) -> None:
        send(channel("discord", url=sink.url), snapshot(message="m" * 9_000, details=MANY), settings)

        (embed,) = sink.received[0].json["embeds"]
        assert len(embed["title"]) <= 256
        assert len(embed["description"]) <= 4_096


class TestPagerDuty:
    @pytest.fixture(autouse=True)
    def _local(self, sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pagerduty, "_URLS", {"us": f"{sink.url}/us", "eu": f"{sink.url}/eu"})

    def send(self, told: Any, settings: Settings, **spec: Any) -> Outcome:
        return send(channel("pagerduty", routing_key="R0", **spec), told, settings)

    def test_an_incident_is_triggered_and_resolved_under_one_key(self, sink: HttpSink, settings: Settings) -> None:
        sink.say(202)
        sink.say(202)

        assert self.send(snapshot(), settings, region="eu") == Outcome(sent_to="pagerduty")
        assert self.send(resolved(), settings) == Outcome(sent_to="pagerduty")

        opened, over = (each.json for each in sink.received)
        assert [each.path for each in sink.received] == ["/eu", "/us"]
        assert (opened["event_action"], opened["payload"]["severity"]) == ("trigger", "error")
        assert opened["payload"]["summary"] == "orders: 3 runs in a row"
        assert over == {
            "routing_key": "R0", "event_action": "resolve", "dedup_key": "watcher-12-20261122021409"
        }  # fmt: skip
        assert opened["dedup_key"] == over["dedup_key"]

    @pytest.mark.parametrize(
        ("level", "severity"),
        [("INFO", "info"), ("WARNING", "warning"), ("ERROR", "error"), ("CRITICAL", "critical")],
    )
    def test_each_level_has_its_severity(self, sink: HttpSink, settings: Settings, level: str, severity: str) -> None:
        self.send(snapshot(level=level, incidents=[about(level=level)]), settings)

        assert sink.received[0].json["payload"]["severity"] == severity

    def test_what_has_arrived_is_not_sent_again(self, sink: HttpSink, settings: Settings) -> None:
        told = snapshot(incidents=[about(1), about(2), about(3)])
        sink.say(202)
        sink.say(429, headers={"Retry-After": "9"})

        first = self.send(told, settings)
        assert (first.pause_seconds, list(first.arrived)) == (9, [about(1).key])

        assert self.send(replace(told, arrived=frozenset(first.arrived)), settings).sent_to
        keys = [each.json["dedup_key"] for each in sink.received]
        assert keys == [about(number).key for number in (1, 2, 2, 3)]

    @pytest.mark.parametrize(("status", "refused"), [(400, True), (500, False)])
    def test_a_bad_request_is_never_sent_again(
        self, sink: HttpSink, settings: Settings, status: int, *, refused: bool
    ) -> None:
        sink.say(status)

        assert self.send(snapshot(), settings).refused is refused

    def test_summaries_and_keys_fit(self) -> None:
        event = pagerduty.render(snapshot(), about(detail="d" * 5_000, key="k" * 500))

        assert (len(event["payload"]["summary"]), len(event["dedup_key"])) == (1_024, 255)


class TestWebhook:
    def verify(self, key: str, sink: HttpSink) -> Any:
        return Webhook(key).verify(sink.received[-1].body, sink.received[-1].headers)

    def test_what_is_sent_can_be_verified(self, sink: HttpSink, settings: Settings) -> None:
        assert send(channel("webhook", url=sink.url, signing_keys=[NEW_KEY]), snapshot(), settings).sent_to

        event = self.verify(NEW_KEY, sink)
        assert (event["type"], event["data"]["incidents"][0]["id"]) == ("incident.opened", 12)
        assert sink.received[0].headers["webhook-id"] == snapshot().key
        with pytest.raises(WebhookVerificationError):
            self.verify(OLD_KEY, sink)

    def test_while_a_key_is_replaced_both_sign(self, sink: HttpSink, settings: Settings) -> None:
        send(channel("webhook", url=sink.url, signing_keys=[NEW_KEY, OLD_KEY]), resolved(), settings)

        assert self.verify(NEW_KEY, sink)["type"] == self.verify(OLD_KEY, sink)["type"] == "incident.resolved"

    def test_an_event_is_below_20_kb(self, sink: HttpSink, settings: Settings) -> None:
        told = snapshot(message="m" * 9_000, details=MANY, incidents=INCIDENTS)

        send(channel("webhook", url=sink.url, signing_keys=[NEW_KEY]), told, settings)

        assert len(sink.received[0].body) < 20_000
        assert sink.received[0].json["data"]["incident_count"] == 300

    @pytest.mark.parametrize(
        ("status", "gone", "refused"), [(410, True, False), (404, False, True), (500, False, False)]
    )
    def test_only_410_ends_it(
        self, sink: HttpSink, settings: Settings, status: int, *, gone: bool, refused: bool
    ) -> None:
        sink.say(status)

        outcome = send(channel("webhook", url=sink.url, signing_keys=[NEW_KEY]), snapshot(), settings)

        assert (outcome.gone, outcome.refused) == (gone, refused)


class TestApprise:
    def test_it_is_off_until_the_operator_allows_it(self, sink: HttpSink, settings: Settings) -> None:
        outcome = send(channel("apprise", url=sink.url.replace("http", "json")), snapshot(), settings)

        assert outcome.error == "Channels of the type apprise are off: set WATCHER_APPRISE=true"
        assert sink.received == []

    def test_it_delivers_by_the_url_of_a_service(self, sink: HttpSink) -> None:
        settings = load_settings(alert_private_hosts="127.0.0.1", apprise=True)

        assert send(channel("apprise", url=sink.url.replace("http", "json")), snapshot(), settings).sent_to == "apprise"

        assert sink.received[0].json["title"] == "ERROR Pipeline Failing"
        assert "Pipeline 'orders' (ID: 1) failed" in sink.received[0].json["message"]

    def test_it_follows_no_redirect_even_when_its_url_asks_for_it(self, sink: HttpSink) -> None:
        settings = load_settings(alert_private_hosts="127.0.0.1", apprise=True)
        sink.say(302, headers={"Location": f"{sink.url}/elsewhere"})

        outcome = send(
            channel("apprise", url=f"{sink.url.replace('http', 'json')}/?redirect=yes"), snapshot(), settings
        )

        assert (outcome.sent_to, len(sink.received)) == (None, 1)

    @pytest.mark.parametrize("url", ["json://169.254.169.254/", "syslog://", "nothing://x", "json://2130706433"])
    def test_what_leads_inside_is_refused(self, url: str) -> None:
        assert send(channel("apprise", url=url), snapshot(), load_settings(apprise=True)).sent_to is None
