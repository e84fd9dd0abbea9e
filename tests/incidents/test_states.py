"""From open to resolved and back: reopening, flapping, what people set, and what is told of it."""

from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.incidents.passing import incidents, let_pass, sweep, told, wait
from tests.incidents.records import events
from tests.support.rows import add_pipeline, add_run, ago
from watcher_server.alerts.levels import Level
from watcher_server.incidents.failing import judge_failure
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.opening import Finding, open_incidents
from watcher_server.incidents.telling import choose_speakers, mark_told


@pytest.fixture(autouse=True)
def orders(engine: Engine) -> int:
    with engine.begin() as connection:
        return add_pipeline(connection)


def fail(engine: Engine) -> None:
    """A run that fails now, after a minute."""
    with engine.begin() as connection:
        add_run(connection, 1, start_date=ago(seconds=10), end_date=ago(seconds=1), completed_successfully=False)
        judge_failure(connection, 1, alert_max_age_hours=24)


def succeed(engine: Engine) -> None:
    """A run that succeeds now, and the sweep that sees it."""
    with engine.begin() as connection:
        add_run(connection, 1, start_date=ago(seconds=10), end_date=ago(seconds=1))
    sweep(engine)


def change(engine: Engine, **fields: Any) -> None:
    """What somebody does with the incident."""
    with engine.begin() as connection:
        columns = ", ".join(f"{name} = :{name}" for name in fields)
        connection.execute(text(f"UPDATE incident SET {columns}"), fields)
        if "snooze" in fields:
            connection.execute(
                text("INSERT INTO incident_event (incident_id, change, actor) VALUES (1, 'snoozed', 'ada')")
            )


def changes(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [change for change, _, _ in events(connection, 1)]


def test_back_within_half_an_hour_it_is_the_same_incident(engine: Engine) -> None:
    fail(engine)
    change(engine, acknowledged_by="ada", state="acknowledged")
    succeed(engine)
    wait(engine, minutes=29)
    fail(engine)

    (incident,) = incidents(engine)
    assert (incident["state"], incident["acknowledged_by"], incident["resolution"]) == ("open", None, None)
    assert changes(engine) == ["opened", "told", "resolved", "told", "reopened", "told"]
    assert [message.split()[0] for message in told(engine)] == ["ERROR", "RESOLVED", "ERROR"]


def test_later_it_is_another(engine: Engine) -> None:
    fail(engine)
    succeed(engine)
    wait(engine, minutes=31)
    fail(engine)

    assert [incident["state"] for incident in incidents(engine)] == ["resolved", "open"]


def test_back_within_two_minutes_nobody_hears_of_it(engine: Engine) -> None:
    fail(engine)
    succeed(engine)
    wait(engine, minutes=1)
    fail(engine)
    wait(engine, minutes=5)
    assert len(told(engine)) == 1

    succeed(engine)
    wait(engine, minutes=2)

    assert [message.split()[0] for message in told(engine)] == ["ERROR", "RESOLVED"]


def test_resolved_is_not_told_where_it_is_not_wanted(engine: Engine) -> None:
    fail(engine)
    succeed(engine)
    with engine.begin() as connection:
        let_pass(connection, minutes=2)
    sweep(engine, alert_resolved=False)
    sweep(engine, alert_resolved=True)
    assert len(told(engine)) == 1

    fail(engine)

    assert len(told(engine)) == 2


def reopen(engine: Engine, minutes_over: float) -> None:
    succeed(engine)
    wait(engine, minutes=minutes_over)
    fail(engine)


@pytest.mark.parametrize("minutes_over", [1, 5])
def test_the_fourth_time_within_a_day_it_flaps_and_that_is_told_once(engine: Engine, minutes_over: float) -> None:
    fail(engine)
    for _ in range(3):
        reopen(engine, minutes_over)
    assert incidents(engine)[0]["flapping"] is False
    before = len(told(engine))

    reopen(engine, minutes_over)

    since = told(engine)[before:]
    assert since[-1] == (
        "ERROR Pipeline 'orders' (ID: 1) flapping: opened again for the fourth time within a day, and told once an hour"
        " at most until it is calm"
    )
    assert incidents(engine)[0]["flapping"] is True
    # The RESOLVED of the third time, where people waited long enough for it.
    assert len(since) == (1 if minutes_over == 1 else 2)


def test_what_flaps_is_told_once_an_hour_at_most(engine: Engine) -> None:
    fail(engine)
    for _ in range(4):
        reopen(engine, 5)
    before = len(told(engine))
    for _ in range(8):
        reopen(engine, 6)
    assert len(told(engine)) == before

    succeed(engine)
    wait(engine, minutes=10)
    assert len(told(engine)) == before

    wait(engine, minutes=20)

    assert told(engine)[before:] == ["RESOLVED Pipeline 'orders' (ID: 1) succeeded again"]


def test_two_hours_without_another_opening_are_calm(engine: Engine) -> None:
    fail(engine)
    for _ in range(4):
        reopen(engine, 5)
    wait(engine, minutes=119)
    assert incidents(engine)[0]["flapping"] is True

    wait(engine, minutes=2)

    assert incidents(engine)[0]["flapping"] is False


def test_three_runs_that_succeed_are_calm(engine: Engine) -> None:
    fail(engine)
    for _ in range(4):
        reopen(engine, 5)
    for _ in range(2):
        wait(engine, minutes=5)
        succeed(engine)
    assert incidents(engine)[0]["flapping"] is True
    wait(engine, minutes=5)
    succeed(engine)

    assert incidents(engine)[0]["flapping"] is False


def test_an_acknowledgement_that_expires_is_said(engine: Engine) -> None:
    fail(engine)
    change(engine, state="acknowledged", acknowledged_by="ada", acknowledged_until=ago(hours=-1))
    wait(engine, minutes=59)
    assert len(told(engine)) == 1

    with engine.begin() as connection:
        connection.execute(text("UPDATE incident SET acknowledged_until = now() - interval '1 second'"))
    sweep(engine)

    assert told(engine)[1:] == ["ERROR Pipeline 'orders' (ID: 1) still failing"]
    assert incidents(engine)[0]["state"] == "open"
    assert changes(engine)[-2:] == ["unacknowledged", "told"]
    sweep(engine)
    assert len(told(engine)) == 2


@pytest.mark.parametrize("snooze", [{"snooze": "time", "snoozed_until": ago(days=-1)}, {"snooze": "next_run"}])
def test_a_snooze_that_is_over_is_said(engine: Engine, snooze: dict[str, Any]) -> None:
    fail(engine)
    change(engine, **snooze)
    wait(engine, minutes=4)
    assert len(told(engine)) == 1

    with engine.begin() as connection:
        connection.execute(text("UPDATE incident SET snoozed_until = snoozed_until - interval '2 days'"))
    fail(engine)
    sweep(engine)

    assert told(engine)[1:] == ["ERROR Pipeline 'orders' (ID: 1) still failing"]
    assert (incidents(engine)[0]["snooze"], changes(engine)[-2:]) == (None, ["unsnoozed", "told"])


def worsen(engine: Engine, level: Level) -> None:
    with engine.begin() as connection:
        openings = open_incidents(connection, Kind.FAILING, [Finding(ago(), "worse", pipeline_id=1, level=level)])
        mark_told(connection, [opening.incident_id for opening in choose_speakers(connection, openings)], "worse")


def test_a_snooze_until_it_is_worse_ends_when_it_is(engine: Engine) -> None:
    fail(engine)
    change(engine, snooze="worse", state="acknowledged", acknowledged_by="ada")
    worsen(engine, Level.ERROR)
    wait(engine, hours=20)
    assert (incidents(engine)[0]["snooze"], len(changes(engine))) == ("worse", 3)

    worsen(engine, Level.CRITICAL)

    (incident,) = incidents(engine)
    assert (incident["snooze"], incident["state"], incident["level"]) == (None, "open", "CRITICAL")
    assert changes(engine)[-2:] == ["worse", "told"]


def test_what_somebody_resolved_while_it_held_stays_quiet_until_it_was_over(engine: Engine) -> None:
    fail(engine)
    change(engine, state="resolved", resolution="hand", resolved_at=ago(), quiet=True)
    fail(engine)
    wait(engine, hours=3)
    fail(engine)
    assert ([incident["state"] for incident in incidents(engine)], len(told(engine))) == (["resolved"], 1)

    succeed(engine)
    fail(engine)

    assert ([incident["state"] for incident in incidents(engine)], len(told(engine))) == (["resolved", "open"], 2)


def test_what_somebody_resolved_speaks_when_it_is_worse(engine: Engine) -> None:
    fail(engine)
    change(engine, state="resolved", resolution="hand", resolved_at=ago(minutes=3), quiet=True)
    worsen(engine, Level.CRITICAL)

    assert [incident["level"] for incident in incidents(engine)] == ["ERROR", "CRITICAL"]
