"""The lane of a channel: claims, leases, what the other side answers, and what becomes of it."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from tests.support.live import wait_until
from tests.support.notifications import (
    CHANNEL,
    add_incident,
    change_channel,
    channel,
    deliver,
    make_due,
    notifications,
    put,
    states,
)
from tests.support.rows import ago, alerts
from tests.support.slack import Answer, SlackSink, slack_sink
from watcher_server.alerts.lanes import Lane, LeaseLostError, give_up_old, is_due
from watcher_server.alerts.levels import Level
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings, load_settings


@pytest.fixture
def slack() -> Iterator[SlackSink]:
    with slack_sink() as sink:
        yield sink


@pytest.fixture
def settings(slack: SlackSink) -> Settings:
    return load_settings(slack_webhook_url=slack.url)


def seconds_until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()


def test_what_is_critical_goes_first_and_the_others_by_age(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    put(engine, "first")
    put(engine, "second")
    put(engine, "worst", level=Level.CRITICAL)

    assert deliver(engine, settings) == 3
    assert slack.order() == ["worst", "first", "second"]


def test_no_transaction_is_open_while_slack_is_asked(engine: Engine, slack: SlackSink, settings: Settings) -> None:
    put(engine)
    slack.script.append(Answer(after_seconds=2))
    sender = threading.Thread(target=deliver, args=(engine, settings))
    sender.start()
    wait_until(lambda: bool(slack.texts), "the message")

    with engine.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
        assert connection.scalar(text(query)) == 1, "another transaction than this one is open"
    assert states(engine) == ["sending"]
    sender.join()
    assert states(engine) == ["sent"]


def test_a_lane_that_another_has_is_left_alone(engine: Engine, slack: SlackSink, settings: Settings) -> None:
    put(engine)
    other = Lane(engine, CHANNEL, settings)
    assert other.take()

    assert deliver(engine, settings) == 0
    other.give_back()
    assert deliver(engine, settings) == 1


def test_what_is_committed_while_the_lane_is_given_back_is_not_forgotten(
    engine: Engine, slack: SlackSink, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(engine, "first")
    give_back = Lane.give_back

    def commit_another(lane: Lane) -> None:
        if len(slack.texts) == 1:
            put(engine, "second")
            assert deliver(engine, settings) == 0, "the lane was not leased"
        give_back(lane)

    monkeypatch.setattr(Lane, "give_back", commit_another)

    assert deliver(engine, settings) == 2
    assert slack.order() == ["first", "second"]


def test_a_claim_whose_sender_died_lapses_and_is_sent_again(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    put(engine)
    dead = Lane(engine, CHANNEL, settings)
    assert dead.take()
    assert dead.claim() is not None
    assert not is_due(engine, CHANNEL, settings)

    change_channel(engine, leased_until=ago(seconds=1))
    assert deliver(engine, settings) == 1

    (notification,) = notifications(engine)
    assert (notification["state"], notification["attempts"], notification["perhaps_sent"]) == ("sent", 2, True)


def test_a_sender_that_lost_its_lease_changes_nothing(engine: Engine, slack: SlackSink, settings: Settings) -> None:
    put(engine)
    slow = Lane(engine, CHANNEL, settings)
    assert slow.take()
    claim = slow.claim()
    assert claim is not None
    change_channel(engine, leased_until=ago(seconds=1))
    assert deliver(engine, settings) == 1

    with pytest.raises(LeaseLostError):
        slow.record(claim, Outcome(error="Slack answered with status 500"))
    slow.give_back()
    change_channel(engine, lease=uuid4(), leased_until=ago(seconds=-60))
    with pytest.raises(LeaseLostError):
        slow.claim()
    assert states(engine) == ["sent"]
    assert channel(engine)["failures"] == 0


def test_a_message_that_kills_its_senders_lets_others_pass(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    put(engine, "deadly")
    for _ in range(3):
        dead = Lane(engine, CHANNEL, settings)
        assert dead.take()
        assert dead.claim() is not None
        change_channel(engine, leased_until=ago(seconds=1))
    put(engine, "harmless")

    assert deliver(engine, settings) == 1
    assert slack.order() == ["harmless"]


@pytest.mark.parametrize(
    ("answer", "perhaps"),
    [
        (Answer(is_half=True), True),
        (Answer(is_dropped=True), True),
        (Answer(after_seconds=11), True),
        (Answer(502), True),
        (Answer(500), False),
        (Answer(503), False),
    ],
    ids=["half an answer", "a connection that ends", "no answer", "bad gateway", "error", "busy"],
)
def test_a_lost_answer_is_told_from_a_refusal(
    engine: Engine, slack: SlackSink, settings: Settings, answer: Answer, perhaps: bool
) -> None:
    put(engine)
    slack.script.append(answer)

    assert deliver(engine, settings, seconds=1) == 0
    (notification,) = notifications(engine)
    assert (notification["state"], notification["perhaps_sent"]) == ("waiting", perhaps)
    assert "a-secret" not in notification["last_error"]


def test_the_pauses_of_a_notification_grow(engine: Engine, slack: SlackSink, settings: Settings) -> None:
    put(engine)
    slack.status = 500
    for seconds in (5, 30, 120, 300, 900, 900):
        assert deliver(engine, settings, seconds=3) == 0
        assert seconds - 5 < seconds_until(notifications(engine)[0]["next_try_at"]) <= seconds
        make_due(engine)

    slack.status = 200
    assert deliver(engine, settings) == 1


def test_a_dead_channel_costs_one_probe_after_five_failures(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    for number in range(12):
        put(engine, f"alert {number:02}")
    slack.status = 500
    assert deliver(engine, settings) == 0
    assert (slack.requests, channel(engine)["failures"]) == (5, 5)
    assert 30 < seconds_until(channel(engine)["paused_until"]) <= 60
    assert deliver(engine, settings) == 0
    assert slack.requests == 5, "it was asked although it is paused"

    for probe, seconds in enumerate((120, 300, 900, 900), start=6):
        change_channel(engine, paused_until=ago(seconds=1))
        assert deliver(engine, settings) == 0
        assert slack.requests == probe
        assert seconds - 30 < seconds_until(channel(engine)["paused_until"]) <= seconds

    slack.status = 200
    change_channel(engine, paused_until=ago(seconds=1))
    assert deliver(engine, settings) == 12, "those that failed were not released once it was back"
    row = channel(engine)
    assert (row["failures"], row["failing_since"], row["last_error"]) == (0, None, None)
    assert row["last_sent_at"] is not None


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("60", 60),
        ("86400", 900),
        (format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True), 900),
        (format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True), 1),
        ("-5", 5),
        ("soon", 5),
    ],
    ids=["a minute", "a day", "tomorrow", "yesterday", "negative", "no time"],
)
def test_it_waits_as_long_as_slack_asks_for_and_a_quarter_of_an_hour_at_most(
    engine: Engine, slack: SlackSink, settings: Settings, *, status: int, retry_after: str, seconds: int
) -> None:
    put(engine)
    slack.script.append(Answer(status, headers={"Retry-After": retry_after}))

    deliver(engine, settings, seconds=0.5)

    assert seconds - 10 < seconds_until(notifications(engine)[0]["next_try_at"]) <= seconds


@pytest.mark.parametrize(
    ("status", "word", "gone", "told"),
    [
        (404, "no_service", True, " (no_service)"),
        (410, "channel_is_archived", True, " (channel_is_archived)"),
        (403, "action_prohibited", True, " (action_prohibited)"),
        (403, "<h1>what a proxy says of /services/a-secret</h1>", True, ""),
        (400, "invalid_token", True, " (invalid_token)"),
        (400, "no_team", True, " (no_team)"),
        (400, "invalid_payload", False, " (invalid_payload)"),
        (400, "x" * 100_000, False, ""),
        (500, "rollup_error", False, " (rollup_error)"),
    ],
)
def test_a_channel_that_is_gone_is_told_from_a_message_that_is_refused(
    engine: Engine, slack: SlackSink, settings: Settings, *, status: int, word: str, gone: bool, told: str
) -> None:
    put(engine)
    slack.script.append(Answer(status, word))

    deliver(engine, settings, seconds=0.5)

    assert channel(engine)["gone"] is gone
    assert notifications(engine)[0]["last_error"] == f"Slack answered with status {status}{told}"


def test_a_channel_that_is_gone_is_probed_every_quarter_of_an_hour(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    put(engine, "first")
    put(engine, "second")
    slack.script.append(Answer(404, "no_service"))

    assert deliver(engine, settings) == 0
    assert slack.requests == 1
    assert 800 < seconds_until(channel(engine)["paused_until"]) <= 900
    make_due(engine)
    assert deliver(engine, settings) == 2
    assert channel(engine)["gone"] is False


def test_a_message_that_is_refused_lets_others_pass_and_holds_its_incident_back(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    one, other = add_incident(engine, "one"), add_incident(engine, "other")
    put(engine, "refused", one)
    put(engine, "later", one)
    put(engine, "passes", other)
    slack.script.append(Answer(400, "invalid_payload"))

    assert deliver(engine, settings) == 1
    assert slack.order() == ["passes"]
    assert channel(engine)["failures"] == 0
    assert notifications(engine)[0]["refused"] is True


def test_one_that_is_refused_again_and_again_pauses_nothing(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    put(engine)
    for _ in range(8):
        slack.script.append(Answer(400, "invalid_payload"))
        assert deliver(engine, settings) == 0
        make_due(engine)

    assert channel(engine)["failures"] == 1


def test_five_that_are_refused_in_a_row_tell_of_the_channel(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    for number in range(8):
        put(engine, f"alert {number}")
    slack.status = 400

    assert deliver(engine, settings) == 0
    assert slack.requests == 5


def test_a_day_later_it_is_given_up(engine: Engine, slack: SlackSink, settings: Settings) -> None:
    put(engine, "old", created_at=ago(hours=25))
    put(engine, "asked for", created_at=ago(hours=25), asked_at=ago(hours=1))
    put(engine, "new", created_at=ago(hours=23))

    assert deliver(engine, settings) == 2
    assert states(engine) == ["given_up", "sent", "sent"]


def test_how_old_is_too_old_is_a_setting(engine: Engine, slack: SlackSink, settings: Settings) -> None:
    put(engine, "old", created_at=ago(hours=25))

    assert deliver(engine, settings.model_copy(update={"alert_max_age_hours": 26})) == 1


def test_after_an_outage_an_incident_is_told_as_it_is_now(engine: Engine, slack: SlackSink, settings: Settings) -> None:
    incident = add_incident(engine)
    put(engine, "it is stale", incident, change="opened")
    slack.script.append(Answer(500))
    assert deliver(engine, settings) == 0
    put(engine, "it is worse", incident, change="worse")
    put(engine, "it is over", incident, level=Level.RESOLVED, change="resolved")
    with engine.connect() as connection:
        opened_at = alerts(connection)[0]["created_at"]

    make_due(engine)
    assert deliver(engine, settings) == 1

    assert slack.order() == ["it is over"]
    assert f"• Meanwhile: opened {opened_at:%Y-%m-%d %H:%M:%S} UTC, worse " in slack.texts[0]
    assert states(engine) == ["merged", "merged", "sent"]
    assert [row["sent_in"] for row in notifications(engine)] == [3, 3, None]


def test_what_waits_while_the_newest_state_fails_is_not_lost(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    incident = add_incident(engine)
    put(engine, "it is stale", incident, change="opened")
    put(engine, "it is over", incident, level=Level.RESOLVED, change="resolved")
    slack.script.extend([Answer(500), Answer(500)])
    for _ in range(2):
        assert deliver(engine, settings, seconds=3) == 0
        assert states(engine) == ["waiting", "waiting"]
        make_due(engine)

    assert deliver(engine, settings) == 1
    assert states(engine) == ["merged", "sent"]


def test_in_normal_flow_each_change_is_told(engine: Engine, slack: SlackSink, settings: Settings) -> None:
    incident = add_incident(engine)
    put(engine, "it is stale", incident, change="opened")
    put(engine, "it is over", incident, level=Level.RESOLVED, change="resolved")

    assert deliver(engine, settings) == 2
    assert slack.order() == ["it is stale", "it is over"]


def raise_storm(engine: Engine, number: int) -> None:
    for each in range(number):
        incident = add_incident(engine, f"pipeline {each:02}")
        put(engine, f"pipeline {each:02} is stale\nsince long", incident, change="opened")


def test_a_storm_becomes_one_message(engine: Engine, slack: SlackSink, settings: Settings) -> None:
    raise_storm(engine, 57)

    assert deliver(engine, settings) == 1

    (message,) = slack.texts
    assert message.startswith("⚠️ WARNING\nMany Incidents\n")
    assert "Message: 57 alerts of new incidents in one, the first of " in message
    assert "• Alert: pipeline 00 is stale\n" in message
    assert "pipeline 19 is stale" in message
    assert message.endswith("• Others: and 37 more")
    *merged, storm = notifications(engine)
    assert {row["state"] for row in merged} == {"merged"}
    assert {row["sent_in"] for row in merged} == {storm["id"]}
    with engine.connect() as connection:
        about = "SELECT count(DISTINCT incident_id) FROM alert_subject WHERE alert_id = :id"
        assert connection.scalar(text(about), {"id": storm["alert_id"]}) == 57


def test_what_comes_after_a_storm_of_one_of_its_incidents_is_told_after_it(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    raise_storm(engine, 57)
    slack.script.append(Answer(503))
    assert deliver(engine, settings, seconds=3) == 0
    put(engine, "pipeline 07 is fine again", 8, level=Level.RESOLVED, change="resolved")
    assert deliver(engine, settings, seconds=3) == 0

    make_due(engine)
    assert deliver(engine, settings) == 2
    assert slack.order()[1] == "pipeline 07 is fine again"


def test_what_a_storm_gathered_is_given_up_with_it_and_told_when_somebody_asks(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    raise_storm(engine, 57)
    slack.script.append(Answer(500))
    assert deliver(engine, settings, seconds=3) == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE notification SET created_at = now() - interval '2 days'"))
        give_up_old(connection, 24)
    assert set(states(engine)) == {"given_up"}
    assert {row["last_error"] for row in notifications(engine)} == {"Slack answered with status 500"}

    with engine.begin() as connection:
        connection.execute(
            text("UPDATE notification SET state = 'waiting', asked_at = now(), next_try_at = now() WHERE id = 58")
        )
    assert deliver(engine, settings) == 1
    assert states(engine) == [*["merged"] * 57, "sent"]


def test_forty_at_once_reach_a_webhook_that_takes_one_a_second(
    engine: Engine, slack: SlackSink, settings: Settings
) -> None:
    slack.pace_seconds = 1
    for number in range(40):
        put(engine, f"alert {number:02}", add_incident(engine, f"pipeline {number}"), change="opened")
    began_at = time.monotonic()

    told = 0
    while told < 40 and time.monotonic() - began_at < 120:
        told += deliver(engine, settings, seconds=15)
        time.sleep(0.5)

    assert slack.order() == [f"alert {number:02}" for number in range(40)]
    assert set(states(engine)) == {"sent"}
