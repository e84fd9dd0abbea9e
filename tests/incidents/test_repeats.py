"""Being told again of what nobody has acknowledged, and telling others: by repeat, escalate and fallback."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from tests.incidents.passing import let_pass, sweep, told
from tests.support.routing import closed_now, put_channel, put_object, put_route, put_window
from tests.support.rows import add_pipeline, add_run, ago
from watcher_server.alerts.broken import find_broken, send_elsewhere
from watcher_server.incidents.failing import judge_failure

ESCALATE: dict[str, Any] = {"escalate": [{"after": "15m", "to": ["pager"]}, {"after": "1h", "to": ["boss"]}]}


def fail(engine: Engine) -> None:
    """A pipeline that fails, and its messages arrive."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_run(connection, pipeline_id, end_date=ago(seconds=1), completed_successfully=False)
        judge_failure(connection, pipeline_id, alert_max_age_hours=24)
    send_all(engine)


def send_all(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE notification SET state = 'sent', sent_at = now() WHERE state = 'waiting'"))


def later(engine: Engine, **duration: float) -> list[str]:
    """Let time pass and sweep; the channels that are told now, with what changed."""
    with engine.begin() as connection:
        let_pass(connection, **duration)
        moved = "UPDATE notification SET sent_at = sent_at - :by, created_at = created_at - :by"
        connection.execute(text(moved), {"by": timedelta(**duration)})
    sweep(engine)
    with engine.connect() as connection:
        found = _waiting(connection)
    send_all(engine)
    return found


def _waiting(connection: Connection) -> list[str]:
    statement = """
        SELECT channel || ' ' || change FROM notification JOIN alert ON alert.id = alert_id
        WHERE state = 'waiting' ORDER BY notification.id
    """
    return list(connection.scalars(text(statement)))


def change(engine: Engine, what: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE incident SET {what}"))


def test_what_is_open_is_told_again_once_in_each_interval(engine: Engine) -> None:
    put_route(engine, "team", repeat="4h")
    fail(engine)
    assert later(engine, hours=3) == []
    assert later(engine, hours=1.1) == ["team reminder"]
    assert later(engine, hours=3) == []
    assert later(engine, hours=1.1) == ["team reminder"]
    assert told(engine)[1:] == ["ERROR Pipeline 'orders' (ID: 1) still failing"] * 2


@pytest.mark.parametrize(
    "quiet", ["state = 'acknowledged'", "snooze = 'worse'", "state = 'resolved', resolved_at = now()"]
)
def test_what_somebody_looks_after_is_neither_repeated_nor_escalated(engine: Engine, quiet: str) -> None:
    put_route(engine, "team", repeat="1h", **ESCALATE)
    fail(engine)
    change(engine, quiet)
    assert [each for each in later(engine, hours=5) if not each.endswith("resolved")] == []


def test_a_window_stops_repeats_and_escalation(engine: Engine) -> None:
    put_route(engine, "team", repeat="1h", **ESCALATE)
    fail(engine)
    put_window(engine)
    assert later(engine, hours=5) == []


def test_outside_its_hours_a_route_repeats_nothing(engine: Engine) -> None:
    put_object(engine, "calendar", "office", closed_now())
    put_route(engine, "team", repeat="1h", hours={"calendar": "office"})
    fail(engine)
    assert later(engine, hours=2) == []


def test_what_nobody_acknowledges_is_told_to_others_step_by_step(engine: Engine) -> None:
    put_route(engine, "team", **ESCALATE)
    fail(engine)
    assert later(engine, minutes=14) == []
    assert later(engine, minutes=2) == ["pager escalated"]
    assert later(engine, minutes=30) == []
    assert later(engine, minutes=20) == ["boss escalated"]
    assert later(engine, hours=5) == []
    assert told(engine)[1:] == ["ERROR Pipeline 'orders' (ID: 1) still failing, and nobody has acknowledged it"] * 2


def test_what_was_escalated_is_told_to_be_over_there_too(engine: Engine) -> None:
    put_route(engine, "team", **ESCALATE)
    fail(engine)
    later(engine, minutes=16)
    with engine.begin() as connection:
        add_run(connection, 1, start_date=ago(seconds=0), end_date=ago(seconds=0))
    sweep(engine)
    assert sorted(later(engine, minutes=3)) == ["pager resolved", "team resolved"]


def test_a_dead_first_channel_escalates_at_once(engine: Engine) -> None:
    put_route(engine, "team", **ESCALATE)
    put_channel(engine, "team", gone=True)
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_run(connection, pipeline_id, end_date=ago(seconds=1), completed_successfully=False)
        judge_failure(connection, pipeline_id, alert_max_age_hours=24)
    sweep(engine)
    with engine.connect() as connection:
        assert _waiting(connection) == ["team opened", "pager escalated"]


def test_a_channel_that_a_route_names_twice_is_told_once(engine: Engine) -> None:
    put_route(engine, "team", repeat="4h")
    with engine.begin() as connection:
        connection.execute(text("""UPDATE alerting_object SET spec = spec || '{"to": ["team", "team"]}'"""))
    fail(engine)
    assert later(engine, hours=4.1) == ["team reminder"]


@pytest.mark.parametrize(
    ("broken", "expected"), [({"gone": True}, ["team opened", "mail opened"]), ({}, ["team opened"])]
)
def test_what_goes_to_a_broken_channel_goes_to_its_fallback_too(
    engine: Engine, broken: dict[str, Any], expected: list[str]
) -> None:
    put_route(engine, "team", fallback="mail")
    put_channel(engine, "team", **broken)
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_run(connection, pipeline_id, end_date=ago(seconds=1), completed_successfully=False)
        judge_failure(connection, pipeline_id, alert_max_age_hours=24)
        send_elsewhere(connection, find_broken(connection))
        assert _waiting(connection) == expected
