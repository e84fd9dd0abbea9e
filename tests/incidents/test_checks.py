"""What the checks find: late, stale and missed, each one incident from its beginning to its end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.incidents.passing import incidents, let_pass, sweep, told, wait
from tests.support.rows import add_pipeline, add_run, ago, alerts, change_pipeline
from watcher_server.freshness.service import check_freshness
from watcher_server.missed_runs.service import check_schedules
from watcher_server.pipelines.mutes import end_mutes
from watcher_server.timeliness.service import check_timeliness

HOURLY: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "hour"}
IN_TEN_MINUTES: dict[str, Any] = {"timeliness_number": 10, "timeliness_datepart": "minute"}


def add(engine: Engine, **fields: Any) -> int:
    with engine.begin() as connection:
        return add_pipeline(connection, **fields)


def change(engine: Engine, **fields: Any) -> None:
    with engine.begin() as connection:
        change_pipeline(connection, 1, **fields)


def start(engine: Engine, minutes_ago: float, *, ended: float | None = None) -> int:
    with engine.begin() as connection:
        end_date = None if ended is None else ago(minutes=ended)
        return add_run(connection, 1, start_date=ago(minutes=minutes_ago), end_date=end_date)


def check(engine: Engine) -> None:
    """All three checks."""
    with engine.begin() as connection:
        check_timeliness(connection, 60, alert_max_age_hours=24)
    with engine.begin() as connection:
        check_freshness(connection)
    with engine.begin() as connection:
        check_schedules(connection, datetime.now(UTC), alert_max_age_hours=24)


def states(engine: Engine) -> list[tuple[str, str, str | None]]:
    return [(incident["kind"], incident["state"], incident["resolution"]) for incident in incidents(engine)]


def test_a_run_that_is_late_is_told_once_and_over_when_it_ends(engine: Engine) -> None:
    add(engine, **IN_TEN_MINUTES)
    run_id = start(engine, 15)
    for _ in range(3):
        check(engine)
        wait(engine, minutes=5)
    (incident,) = incidents(engine)
    assert (incident["kind"], incident["level"], incident["execution_id"]) == ("late", "WARNING", run_id)
    assert incident["version"] == 1
    assert told(engine) == ["WARNING Timeliness Check Failed - 1 new execution(s) overdue"]

    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE pipeline_execution SET end_date = now(), completed_successfully = true")
    assert sweep(engine) == 1
    wait(engine, minutes=2)

    assert told(engine)[1:] == ["RESOLVED Pipeline 'orders' (ID: 1) late no more"]
    check(engine)
    assert len(told(engine)) == 2


def test_what_was_late_and_is_found_after_its_end_is_one_message(engine: Engine) -> None:
    add(engine, **IN_TEN_MINUTES)
    start(engine, 40, ended=5)
    for _ in range(2):
        check(engine)
        wait(engine, minutes=3)

    assert told(engine) == ["WARNING Timeliness Check Failed - 1 new execution(s) overdue"]
    assert states(engine) == [("late", "resolved", "auto")]


def test_what_ended_long_ago_opens_nothing(engine: Engine) -> None:
    add(engine, **IN_TEN_MINUTES)
    start(engine, 3 * 24 * 60, ended=2 * 24 * 60)
    with engine.begin() as connection:
        assert check_timeliness(connection, 60 * 24 * 4, alert_max_age_hours=24).logged == 1

    assert incidents(engine) == []


def test_what_was_missed_long_ago_opens_nothing(engine: Engine) -> None:
    due = every_ten_minutes(engine, 15)
    with engine.begin() as connection:
        assert check_schedules(connection, due + timedelta(minutes=9), alert_max_age_hours=0).logged == 1

    assert incidents(engine) == []


def test_stale_lasts_until_something_is_written(engine: Engine) -> None:
    add(engine, last_target_insert=ago(hours=2), **HOURLY)
    for _ in range(3):
        check(engine)
        wait(engine, minutes=5)
    assert told(engine) == ["WARNING Freshness Check Failed - 1 NEW pipeline(s) overdue"]

    change(engine, last_target_insert=ago())
    sweep(engine)
    wait(engine, minutes=2)

    assert told(engine)[1:] == ["RESOLVED Pipeline 'orders' (ID: 1) fresh again"]


def test_what_was_written_and_is_stale_again_is_told_again(engine: Engine) -> None:
    add(engine, last_target_insert=ago(hours=2), **HOURLY)
    check(engine)
    change(engine, last_target_insert=ago(minutes=59))
    sweep(engine)
    wait(engine, minutes=3)
    check(engine)

    assert [message.split()[0] for message in told(engine)] == ["WARNING", "RESOLVED", "WARNING"]
    assert states(engine) == [("stale", "open", None)]


@pytest.mark.parametrize(
    "muted", [{"mute_freshness_check": True}, {"freshness_number": None, "freshness_datepart": None}, {"active": False}]
)
def test_stale_that_is_not_checked_any_more_is_paused(engine: Engine, muted: dict[str, Any]) -> None:
    add(engine, last_target_insert=ago(hours=2), **HOURLY)
    check(engine)
    change(engine, **muted)
    sweep(engine)
    check(engine)
    wait(engine, minutes=2)

    assert states(engine) == [("stale", "resolved", "paused")]
    assert told(engine)[1:] == ["RESOLVED Pipeline 'orders' (ID: 1) paused or muted"]


def test_a_muted_pipeline_opens_nothing_and_unmuted_it_does(engine: Engine) -> None:
    add(engine, last_target_insert=ago(hours=4), mute_freshness_check=True, mute_timeliness_check=True,
        schedule="0 * * * *", expected_next_run=ago(hours=1), due_since=ago(hours=3),
        **HOURLY, **IN_TEN_MINUTES)  # fmt: skip
    start(engine, 70)
    check(engine)
    assert incidents(engine) == []

    change(engine, mute_freshness_check=False, mute_timeliness_check=False)
    check(engine)

    assert [kind for kind, _, _ in states(engine)] == ["late", "stale"]


def test_muted_and_unmuted_it_is_told_again(engine: Engine) -> None:
    add(engine, last_target_insert=ago(hours=2), **HOURLY)
    check(engine)
    change(engine, mute_freshness_check=True)
    sweep(engine)
    wait(engine, minutes=5)
    change(engine, mute_freshness_check=False)
    check(engine)

    assert states(engine) == [("stale", "open", None)]
    assert [message.split()[0] for message in told(engine)] == ["WARNING", "RESOLVED", "WARNING"]


def test_a_mute_that_ends_by_itself_is_judged_again(engine: Engine) -> None:
    add(engine, last_target_insert=ago(hours=2), mute_freshness_check=True, mute_until=ago(minutes=-5), **HOURLY)
    end_mutes_of(engine)
    check(engine)
    assert incidents(engine) == []

    wait(engine, minutes=6)
    end_mutes_of(engine)
    check(engine)

    assert told(engine) == ["WARNING Freshness Check Failed - 1 NEW pipeline(s) overdue"]


def test_the_mute_of_a_type_ends_too(engine: Engine) -> None:
    add(engine, last_target_insert=ago(hours=2), **HOURLY)
    with engine.begin() as connection:
        connection.execute(text("UPDATE pipeline_type SET mute_freshness_check = true, mute_until = now()"))
    check(engine)
    assert incidents(engine) == []

    end_mutes_of(engine)
    check(engine)

    assert states(engine) == [("stale", "open", None)]


def end_mutes_of(engine: Engine) -> None:
    with engine.begin() as connection:
        end_mutes(connection)


def every_ten_minutes(engine: Engine, minutes_ago: int) -> datetime:
    """A pipeline that should have run so long ago, each ten minutes since."""
    due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=minutes_ago)
    add(engine, schedule=f"{due.minute % 10}-59/10 * * * *", schedule_grace_minutes=5, expected_next_run=due)
    return due


def test_further_misses_are_only_counted_until_a_run_starts(engine: Engine) -> None:
    due = every_ten_minutes(engine, 36)
    for minutes in (6, 16, 26, 36):
        with engine.begin() as connection:
            check_schedules(connection, due + timedelta(minutes=minutes), alert_max_age_hours=24)
        sweep(engine)
    (incident,) = incidents(engine)
    assert (incident["count"], incident["since"]) == (4, due)
    assert told(engine) == ["WARNING 1 run(s) missed"]

    start(engine, 0.5)
    assert sweep(engine) == 1
    wait(engine, minutes=2)

    assert told(engine)[1:] == ["RESOLVED Pipeline 'orders' (ID: 1) started again"]


def test_a_miss_that_is_found_after_a_later_run_began_is_one_message(engine: Engine) -> None:
    due = every_ten_minutes(engine, 15)
    start(engine, 1)
    with engine.begin() as connection:
        check_schedules(connection, due + timedelta(minutes=9), alert_max_age_hours=24)
    wait(engine, minutes=3)

    assert states(engine) == [("missed", "resolved", "auto")]
    assert told(engine) == ["WARNING 1 run(s) missed"]


def test_a_run_that_began_a_little_early_and_was_reported_late_ends_a_miss(engine: Engine) -> None:
    due = every_ten_minutes(engine, 15)
    with engine.begin() as connection:
        check_schedules(connection, due + timedelta(minutes=9), alert_max_age_hours=24)
        add_run(connection, 1, start_date=due - timedelta(minutes=1), end_date=None)

    assert sweep(engine) == 1


def test_without_its_schedule_nothing_is_missed(engine: Engine) -> None:
    due = every_ten_minutes(engine, 15)
    with engine.begin() as connection:
        check_schedules(connection, due + timedelta(minutes=9), alert_max_age_hours=24)
    change(engine, schedule=None, expected_next_run=None, last_missed_run=None)

    assert sweep(engine) == 1
    assert states(engine) == [("missed", "resolved", "paused")]


def test_a_message_says_what_is_wrong_because_of_each_line(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO address_type (name, group_name) VALUES ('table', 'database')")
        for number in range(1, 7):
            connection.exec_driver_sql(f"INSERT INTO address (name, address_type_id) VALUES ('{number}', 1)")
            connection.exec_driver_sql(f"INSERT INTO address_lineage_closure VALUES ({number}, {number}, 0, '{{}}')")
        for number, name in enumerate(("orders", "revenue", "forecast", "margin"), start=1):
            pipeline_id = add_pipeline(connection, name, last_target_insert=ago(hours=2), **HOURLY)
            source = 1 if number == 1 else 2
            connection.exec_driver_sql(
                "INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id)"
                f" VALUES ({pipeline_id}, {source}, {number + 1})"
            )
        for target in (3, 4, 5):
            connection.exec_driver_sql(f"INSERT INTO address_lineage_closure VALUES (2, {target}, 1, '{{}}')")
    check(engine)

    assert told(engine) == ["WARNING Freshness Check Failed - 1 NEW pipeline(s) overdue"]
    with engine.connect() as connection:
        ((label, said),) = alerts(connection)[0]["details"]
    assert label == "orders"
    assert said.endswith(", 3 addresses downstream; revenue, forecast and 1 more are stale because of it")

    change(engine, last_target_insert=ago())
    sweep(engine)
    wait(engine, minutes=59)
    assert [message.split()[0] for message in told(engine)] == ["WARNING", "RESOLVED"]
    wait(engine, minutes=2)

    assert told(engine)[-1] == "WARNING 3 incidents: still stale"


def test_what_outlives_its_root_waits_for_its_own_next_run(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO address_type (name, group_name) VALUES ('table', 'database')")
        for number in range(1, 4):
            connection.exec_driver_sql(f"INSERT INTO address (name, address_type_id) VALUES ('{number}', 1)")
        for name in ("orders", "revenue"):
            pipeline_id = add_pipeline(
                connection, name, last_target_insert=ago(hours=3), schedule="0 3 * * *", schedule_grace_minutes=5,
                expected_next_run=ago(minutes=-30), due_since=ago(hours=2), **HOURLY
            )  # fmt: skip
            connection.exec_driver_sql(
                "INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id)"
                f" VALUES ({pipeline_id}, {pipeline_id}, {pipeline_id + 1})"
            )
    check(engine)
    change(engine, last_target_insert=ago())
    sweep(engine)
    with engine.begin() as connection:
        let_pass(connection, minutes=34)
    sweep(engine)
    assert len(told(engine)) == 2

    wait(engine, minutes=2)

    assert told(engine)[-1] == "WARNING Pipeline 'revenue' (ID: 2) still stale"
