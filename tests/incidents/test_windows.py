"""Windows: what is found in one is recorded and not told; at its end what still holds is told in one message."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.incidents.passing import incidents, let_pass, sweep, told
from tests.incidents.records import events
from tests.support.emptying import empty_tables
from tests.support.routing import put_object, put_route, put_window, remove
from tests.support.rows import add_pipeline, add_run, ago, alerts, change_pipeline
from watcher_server.freshness.service import check_freshness
from watcher_server.incidents.failing import judge_failure
from watcher_server.missed_runs.service import check_schedules

HOURLY: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "hour"}
WARNS: dict[str, Any] = {"freshness_warning_number": 1, "freshness_warning_datepart": "hour"}


def add(engine: Engine, name: str = "orders", **fields: Any) -> int:
    with engine.begin() as connection:
        return add_pipeline(connection, name, **fields)


def fail(engine: Engine, pipeline_id: int) -> None:
    with engine.begin() as connection:
        add_run(connection, pipeline_id, end_date=ago(seconds=1), completed_successfully=False)
        judge_failure(connection, pipeline_id, alert_max_age_hours=24)


def succeed(engine: Engine, pipeline_id: int) -> None:
    with engine.begin() as connection:
        add_run(connection, pipeline_id, start_date=datetime.now(UTC), end_date=datetime.now(UTC))


def check_fresh(engine: Engine) -> None:
    with engine.begin() as connection:
        check_freshness(connection)


def stale_pipeline(engine: Engine, name: str = "orders", **fields: Any) -> int:
    return add(engine, name, **{"last_target_insert": ago(hours=2), **HOURLY, **fields})


def states(engine: Engine) -> list[tuple[str, str, str | None]]:
    return [(each["kind"], each["state"], each["held_by"]) for each in incidents(engine)]


def test_in_a_window_what_is_wrong_is_recorded_and_nobody_is_told(engine: Engine) -> None:
    put_window(engine)
    fail(engine, add(engine))
    sweep(engine)
    assert states(engine) == [("failing", "open", "deploy")]
    assert told(engine) == []
    with engine.connect() as connection:
        assert events(connection, 1)[1:] == [("held", "watcher", "By the window deploy")]


def test_at_its_end_what_still_holds_is_told_in_one_message(engine: Engine) -> None:
    put_window(engine)
    first, second = add(engine), add(engine, "customers")
    fail(engine, first)
    fail(engine, second)
    stale_pipeline(engine, "prices", display_name="Prices")
    check_fresh(engine)
    succeed(engine, second)
    sweep(engine)
    remove(engine, "deploy")
    sweep(engine)
    sweep(engine)
    assert told(engine) == ["ERROR The window 'deploy' is over: 2 incidents still hold"]
    with engine.connect() as connection:
        assert "Prices (#3)" in alerts(connection)[-1]["text"]
    assert {held for _, state, held in states(engine) if state == "open"} == {None}


def test_what_the_window_is_not_for_is_told_as_ever(engine: Engine) -> None:
    put_window(engine, match={"pipeline": ["orders"], "kind": ["stale"]})
    fail(engine, add(engine))
    assert told(engine)[0].startswith("ERROR Pipeline 'orders' (ID: 1) failed")


def test_what_was_told_before_a_window_and_ends_in_it_is_told_to_be_over(engine: Engine) -> None:
    pipeline_id = add(engine)
    fail(engine, pipeline_id)
    put_window(engine)
    succeed(engine, pipeline_id)
    sweep(engine)
    with engine.begin() as connection:
        let_pass(connection, minutes=3)
    sweep(engine)
    assert told(engine)[1:] == ["RESOLVED Pipeline 'orders' (ID: 1) succeeded again"]


def test_what_gets_worse_in_a_window_is_told_at_its_end(engine: Engine) -> None:
    pipeline_id = add(engine)
    fail(engine, pipeline_id)
    put_window(engine)
    with engine.begin() as connection:
        change_pipeline(connection, pipeline_id, criticality="high")
    fail(engine, pipeline_id)
    assert len(told(engine)) == 1
    remove(engine, "deploy")
    sweep(engine)
    assert told(engine)[1:] == ["CRITICAL The window 'deploy' is over: 1 incident still holds"]


def test_an_effect_outside_the_window_of_its_cause_speaks_for_itself(engine: Engine) -> None:
    cause, effect = add(engine, "source"), add(engine, "target")
    put_window(engine, match={"pipeline": ["source"]})
    with engine.begin() as connection:
        parent = add_run(connection, effect, end_date=ago(seconds=2), completed_successfully=False)
        add_run(connection, cause, end_date=ago(seconds=3), completed_successfully=False, parent_id=parent)
        for pipeline_id in (cause, effect):
            judge_failure(connection, pipeline_id, alert_max_age_hours=24)
    sweep(engine)
    assert [message.partition(" failed")[0] for message in told(engine)] == ["ERROR Pipeline 'target' (ID: 2)"]


def test_a_warning_in_a_window_is_not_told(engine: Engine) -> None:
    put_window(engine, match={"pipeline": ["orders"]})
    for name in ("orders", "customers"):
        add(engine, name, last_target_insert=ago(hours=2), **WARNS, freshness_number=1, freshness_datepart="day")
    check_fresh(engine)
    assert told(engine) == ["INFO Freshness Check Warning - 1 pipeline(s) close to overdue"]


def test_two_teams_hear_of_what_is_theirs_when_the_window_is_over(engine: Engine) -> None:
    put_route(engine, "ana", match={"owner": ["ana"]})
    put_window(engine)
    for name, owner in (("orders", "ana"), ("customers", "bo")):
        fail(engine, add(engine, name, owner=owner))
    remove(engine, "deploy")
    sweep(engine)
    with engine.connect() as connection:
        channels = connection.scalars(text("SELECT channel FROM notification ORDER BY channel")).all()
    assert channels == ["ana", "default"]
    assert told(engine) == ["ERROR The window 'deploy' is over: 1 incident still holds"] * 2


def window_of(hours_ago: float, hours: int, **fields: Any) -> dict[str, Any]:
    """A window that was once, and began so long ago."""
    begins = ago(hours=hours_ago)
    ends = begins + timedelta(hours=hours)
    return {"mode": "skip", "from": begins.isoformat(), "until": ends.isoformat(), **fields}


def scheduled(engine: Engine, hours_ago: int, **fields: Any) -> datetime:
    """A pipeline that was to run so long ago, and each hour since."""
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    schedule: dict[str, Any] = {"schedule": "0 * * * *", "schedule_grace_minutes": 1, "expected_next_run": due}
    add(engine, **schedule, **fields)
    return due


def missed(engine: Engine) -> list[datetime]:
    with engine.begin() as connection:
        check_schedules(connection, datetime.now(UTC) + timedelta(minutes=2), alert_max_age_hours=24)
        return list(connection.scalars(text("SELECT expected_at FROM missed_run_log ORDER BY expected_at")))


def test_runs_that_are_due_in_a_window_that_skips_are_not_missed(engine: Engine) -> None:
    due = scheduled(engine, 4)
    begins, ends = due + timedelta(minutes=30), due + timedelta(hours=3, minutes=30)
    put_window(engine, mode="skip", until=ends.isoformat(), **{"from": begins.isoformat()})
    assert missed(engine) == [due, due + timedelta(hours=4)]


def test_a_window_that_holds_takes_no_run_away(engine: Engine) -> None:
    scheduled(engine, 4)
    put_window(engine)
    assert len(missed(engine)) == 5
    assert told(engine) == []


def test_in_a_window_that_skips_nothing_becomes_stale(engine: Engine) -> None:
    put_window(engine, **window_of(3, 4))
    stale_pipeline(engine)
    check_fresh(engine)
    assert incidents(engine) == []


@pytest.mark.parametrize(("hours_ago", "is_stale"), [(2.5, False), (3.5, True)])
def test_the_time_in_a_window_that_skips_does_not_count_for_one_without_a_schedule(
    engine: Engine, hours_ago: float, *, is_stale: bool
) -> None:
    # Two of the hours since were in the window, and one hour is the threshold.
    put_window(engine, **window_of(hours_ago - 0.25, 2))
    stale_pipeline(engine, last_target_insert=ago(hours=hours_ago))
    check_fresh(engine)
    assert bool(incidents(engine)) is is_stale


def test_a_run_that_was_skipped_counts_as_one_that_wrote(engine: Engine) -> None:
    # It was to run at every hour, and those of the last four hours were skipped but the last.
    put_window(engine, **window_of(4, 3))
    stale_pipeline(engine, last_target_insert=ago(hours=5), schedule="0 * * * *", **{
        **HOURLY, "freshness_number": 3
    })  # fmt: skip
    check_fresh(engine)
    assert incidents(engine) == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE pipeline SET schedule = NULL, last_target_insert = now() - interval '8 hours'"))
    check_fresh(engine)
    assert [each["kind"] for each in incidents(engine)] == ["stale"]


def test_a_queue_in_a_window_waits_for_its_end_too(engine: Engine) -> None:
    put_object(engine, "window", "deploy", {"match": {"kind": ["queue"]}})
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO incident (kind, subject, level, since) VALUES ('queue', 'celery', 'WARNING', now())")
        )
    sweep(engine)
    assert told(engine) == []
    remove(engine, "deploy")
    sweep(engine)
    assert told(engine) == ["WARNING The window 'deploy' is over: 1 incident still holds"]


happens = st.sampled_from(["fail", "succeed", "open window", "end window", "wait"])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(happens, min_size=3, max_size=10))
def test_what_was_told_to_be_wrong_is_told_to_be_over_and_nothing_else_is(engine: Engine, steps: list[str]) -> None:
    empty_tables(engine)
    pipeline_id, is_open = add(engine), False
    for step in [*steps, "end window", "succeed", "wait", "wait"]:
        if step == "fail":
            fail(engine, pipeline_id)
        elif step == "succeed":
            succeed(engine, pipeline_id)
        elif step == "open window" and not is_open:
            put_window(engine)
            is_open = True
        elif step == "end window":
            remove(engine, "deploy")
            is_open = False
        elif step == "wait":
            with engine.begin() as connection:
                let_pass(connection, minutes=5)
        sweep(engine)

    believed = False
    for message in told(engine):
        if message.startswith("RESOLVED"):
            assert believed, told(engine)
        believed = not message.startswith("RESOLVED")
    assert not believed, told(engine)
