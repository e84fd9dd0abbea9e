"""Which runs were missed, and who is told."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from tests.lineage.graphs import draw_addresses
from tests.support.rows import add_pipeline, add_run, ago, alerts, change_pipeline, now, rows
from watcher_server.celery_tasks import schedule_check_task
from watcher_server.incidents.models import Incident
from watcher_server.lineage.models import AddressLineage, AddressLineageClosure
from watcher_server.missed_runs import service
from watcher_server.missed_runs.decisions import expected_runs
from watcher_server.missed_runs.models import MissedRunLog
from watcher_server.missed_runs.service import Found, check_schedules
from watcher_server.pipelines.models import Pipeline
from watcher_server.schedules.cron import Schedule
from watcher_server.tasking.models import OutboxMessage

# An expected run of every schedule below.
DUE = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
NIGHTLY: dict[str, Any] = {"schedule": "0 2 * * *", "expected_next_run": DUE}
EVERY_5_MINUTES: dict[str, Any] = {"schedule": "*/5 * * * *", "expected_next_run": DUE}
NOTHING = Found(logged=0, alerted=0, left_out=0)


def after_due(**duration: float) -> datetime:
    return DUE + timedelta(**duration)


def check(engine: Engine, at: datetime) -> Found:
    with engine.begin() as connection:
        return check_schedules(connection, at, alert_max_age_hours=24)


def add(engine: Engine, name: str = "orders", *, started: Sequence[datetime] = (), **fields: Any) -> int:
    """A pipeline, and its executions by when they started."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, name, **fields)
        for start in started:
            add_run(connection, pipeline_id, start_date=start, end_date=start + timedelta(seconds=1))
    return pipeline_id


def pipeline(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return rows(connection, Pipeline)[0]


def missed(engine: Engine) -> list[datetime]:
    with engine.connect() as connection:
        return [row["expected_at"] for row in rows(connection, MissedRunLog)]


def raised(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return alerts(connection)


def test_a_run_that_never_started_is_logged_and_alerted_once(engine: Engine) -> None:
    pipeline_id = add(engine, schedule_timezone="Europe/Berlin", schedule="0 3 * * *", expected_next_run=DUE)

    assert check(engine, after_due(minutes=10)) == NOTHING
    assert check(engine, after_due(minutes=11)) == Found(logged=1, alerted=1, left_out=0)
    assert check(engine, after_due(minutes=12)) == NOTHING

    with engine.connect() as connection:
        (log,) = rows(connection, MissedRunLog)
    assert log.pop("evaluated_at") is not None
    assert log == {
        "id": log["id"],
        "pipeline_id": pipeline_id,
        "expected_at": DUE,
        "schedule": "0 3 * * *",
        "schedule_timezone": "Europe/Berlin",
        "schedule_grace_minutes": 10,
    }
    (alert,) = raised(engine)
    assert (alert["level"], alert["title"]) == ("WARNING", "Schedule Check - Missed Runs")
    assert alert["message"] == "1 run(s) missed"
    assert alert["details"] == [
        ["orders", "expected 2026-11-20 02:00 UTC (0 3 * * *, Europe/Berlin), not started by 02:10 UTC"]
    ]
    stored = pipeline(engine)
    assert (stored["last_missed_run"], stored["expected_next_run"]) == (DUE, after_due(days=1))


def test_a_run_that_started_is_not_missed_and_the_next_is_expected(engine: Engine) -> None:
    add(engine, started=[after_due(minutes=3)], **NIGHTLY)

    assert check(engine, after_due(minutes=4)) == NOTHING

    stored = pipeline(engine)
    assert (stored["last_missed_run"], stored["expected_next_run"]) == (None, after_due(days=1))


@pytest.mark.parametrize(
    ("schedule", "grace", "started_after", "counts"),
    [
        ("0 2 * * *", 10, timedelta(minutes=10), True),
        ("0 2 * * *", 10, timedelta(minutes=10, seconds=1), False),
        ("0 2 * * *", 10, -timedelta(minutes=10), True),
        ("0 2 * * *", 10, -timedelta(minutes=10, seconds=1), False),
        ("0 2 * * *", 0, timedelta(0), True),
        ("0 2 * * *", 0, timedelta(seconds=1), False),
        ("*/5 * * * *", 10, timedelta(minutes=5), True),
        ("*/5 * * * *", 10, timedelta(minutes=5, seconds=1), False),
        ("*/5 * * * *", 10, -timedelta(minutes=2, seconds=30), True),
        ("*/5 * * * *", 10, -timedelta(minutes=2, seconds=31), False),
    ],
)
def test_which_start_is_the_expected_run(
    engine: Engine, schedule: str, grace: int, started_after: timedelta, *, counts: bool
) -> None:
    add(
        engine,
        started=[DUE + started_after],
        schedule=schedule,
        schedule_grace_minutes=grace,
        expected_next_run=DUE,
    )

    check(engine, after_due(minutes=grace, seconds=1))

    assert missed(engine) == ([] if counts else [DUE])


def test_a_grace_of_a_week_leaves_out_none_that_may_still_start(engine: Engine) -> None:
    add(engine, schedule="* * * * *", schedule_grace_minutes=10_080, expected_next_run=DUE)

    assert check(engine, after_due(days=6)) == NOTHING
    assert pipeline(engine)["expected_next_run"] == DUE
    assert check(engine, after_due(days=7, minutes=2)).logged == 2


def test_one_that_still_may_start_is_waited_for(engine: Engine) -> None:
    add(engine, started=[after_due(minutes=1)], **EVERY_5_MINUTES)

    check(engine, after_due(minutes=6))
    assert pipeline(engine)["expected_next_run"] == after_due(minutes=5)
    assert check(engine, after_due(minutes=14)).logged == 0
    assert check(engine, after_due(minutes=16)).logged == 1

    assert missed(engine) == [after_due(minutes=5)]
    assert pipeline(engine)["expected_next_run"] == after_due(minutes=10)


def test_after_an_outage_one_alert_names_each_pipeline_with_its_missed_runs(engine: Engine) -> None:
    add(engine, "loads", started=[after_due(hours=1)], schedule="0 * * * *", expected_next_run=DUE)
    add(engine, "orders", **NIGHTLY)

    assert check(engine, after_due(hours=3, minutes=5)) == Found(logged=3, alerted=3, left_out=0)

    (alert,) = raised(engine)
    assert alert["message"] == "3 run(s) missed"
    assert alert["details"] == [
        [
            "loads",
            (
                "2 runs missed, the first expected 2026-11-20 02:00 UTC, the latest expected 2026-11-20 04:00 UTC"
                " (0 * * * *, UTC), not started by 04:10 UTC"
            ),
        ],
        ["orders", "expected 2026-11-20 02:00 UTC (0 2 * * *, UTC), not started by 02:10 UTC"],
    ]
    assert missed(engine) == [DUE, after_due(hours=2), DUE]
    assert pipeline(engine)["expected_next_run"] == after_due(hours=3)


def test_of_a_long_outage_the_latest_thousand_runs_are_logged_and_the_others_counted(engine: Engine) -> None:
    add(engine, schedule="* * * * *", expected_next_run=DUE)

    found = check(engine, after_due(days=1, minutes=10))

    assert found == Found(logged=1000, alerted=1000, left_out=440)
    assert (missed(engine)[0], missed(engine)[-1]) == (after_due(minutes=440), after_due(minutes=1439))
    (alert,) = raised(engine)
    assert alert["details"][0][1].endswith("; 440 earlier ones were not looked at")
    assert pipeline(engine)["expected_next_run"] == after_due(days=1)


def test_further_misses_join_the_incident_which_counts_from_the_first(engine: Engine) -> None:
    add(engine, **EVERY_5_MINUTES)

    for minutes in range(0, 30, 5):
        check(engine, after_due(minutes=minutes + 11))

    with engine.connect() as connection:
        (incident,) = rows(connection, Incident)
    assert (incident["count"], incident["since"]) == (6, DUE)
    assert incident["detail"] == (
        "6 runs missed, the first expected 2026-11-20 02:00 UTC, the latest expected 2026-11-20 02:25 UTC"
        " (*/5 * * * *, UTC), not started by 02:35 UTC"
    )
    assert [alert["message"] for alert in raised(engine)] == ["1 run(s) missed"]


EVERY_2_MINUTES: dict[str, Any] = {"schedule": "*/2 * * * *", "expected_next_run": DUE}


def add_open(engine: Engine, start: datetime, **fields: Any) -> int:
    with engine.begin() as connection:
        return add_run(connection, 1, start_date=start, end_date=None, **fields)


def test_a_run_that_goes_on_is_said_once_and_what_waits_for_it_is_not_missed(engine: Engine) -> None:
    add(engine, **EVERY_2_MINUTES)
    run = add_open(engine, after_due(minutes=-2))

    for minutes in range(10, 40):
        assert check(engine, after_due(minutes=minutes, seconds=30)).logged == 0

    (alert,) = raised(engine)
    assert (alert["level"], alert["title"]) == ("INFO", "Schedule Check - Run Goes On")
    assert alert["message"] == "1 run(s) still going when the next was expected"
    assert alert["details"] == [
        [
            "orders",
            (
                f"execution {run} has been running since 2026-11-20 01:58 UTC, so the run expected 2026-11-20 02:00 UTC"
                " did not start (*/2 * * * *, UTC)"
            ),
        ]
    ]
    stored = pipeline(engine)
    assert (stored["last_missed_run"], stored["expected_next_run"]) == (None, after_due(minutes=30))


def test_where_runs_may_overlap_each_that_did_not_start_is_missed_in_one_incident(engine: Engine) -> None:
    add(engine, overlap="expected", **EVERY_2_MINUTES)
    add_open(engine, after_due(minutes=-2))

    for minutes in range(10, 20):
        check(engine, after_due(minutes=minutes, seconds=30))

    with engine.connect() as connection:
        (incident,) = rows(connection, Incident)
    assert (incident["kind"], incident["state"], incident["count"]) == ("missed", "open", 5)
    assert [alert["message"] for alert in raised(engine)] == ["1 run(s) missed"]


@pytest.mark.parametrize(("ended_after", "misses"), [(timedelta(seconds=1), False), (-timedelta(seconds=1), True)])
def test_a_run_that_ended_before_the_check_counts_by_when_it_was_open(
    engine: Engine, ended_after: timedelta, *, misses: bool
) -> None:
    pipeline_id = add(engine, **NIGHTLY)
    with engine.begin() as connection:
        add_run(connection, pipeline_id, start_date=after_due(hours=-3), end_date=DUE + ended_after)

    check(engine, after_due(minutes=11))

    assert missed(engine) == ([DUE] if misses else [])
    assert len(raised(engine)) == int(misses)


def test_after_the_run_has_ended_the_next_ones_are_missed_again(engine: Engine) -> None:
    pipeline_id = add(engine, **EVERY_2_MINUTES)
    with engine.begin() as connection:
        add_run(connection, pipeline_id, start_date=after_due(minutes=-2), end_date=after_due(minutes=5))

    check(engine, after_due(minutes=16, seconds=1))

    assert missed(engine) == [after_due(minutes=6)]


def test_a_backfill_is_never_the_run_that_was_expected(engine: Engine) -> None:
    add(engine, **NIGHTLY)
    add_open(engine, after_due(minutes=1), backfill=True)

    check(engine, after_due(minutes=11))

    assert missed(engine) == [DUE]


def test_what_was_missed_more_than_a_day_ago_is_logged_but_not_alerted(engine: Engine) -> None:
    add(engine, **NIGHTLY)

    assert check(engine, after_due(days=3, minutes=11)) == Found(logged=4, alerted=1, left_out=0)

    assert [alert["message"] for alert in raised(engine)] == ["1 run(s) missed"]


@pytest.mark.parametrize("fields", [{"mute_timeliness_check": True}, {"type_fields": {"mute_timeliness_check": True}}])
def test_a_muted_pipeline_moves_on_and_misses_nothing(engine: Engine, fields: dict[str, Any]) -> None:
    add(engine, **NIGHTLY, **fields)

    assert check(engine, after_due(days=2)) == NOTHING

    stored = pipeline(engine)
    assert (stored["last_missed_run"], stored["expected_next_run"]) == (None, after_due(days=2))


def test_nothing_is_expected_of_an_inactive_pipeline(engine: Engine) -> None:
    add(engine, active=False, **NIGHTLY)

    assert check(engine, after_due(days=2)) == NOTHING
    assert pipeline(engine)["expected_next_run"] == DUE


def test_a_pipeline_that_is_changed_meanwhile_is_left_to_the_next_check(engine: Engine) -> None:
    pipeline_id = add(engine, **NIGHTLY)
    with engine.connect() as other, other.begin():
        change_pipeline(other, pipeline_id, schedule="0 5 * * *", expected_next_run=after_due(hours=3))

        assert check(engine, after_due(hours=1)) == NOTHING

    assert pipeline(engine)["expected_next_run"] == after_due(hours=3)
    assert missed(engine) == []


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": "0 2 * * MON"},
        {"schedule_timezone": "Europe/Berlin"},
        {"schedule_grace_minutes": 90},
        {"expected_next_run": DUE + timedelta(days=1)},
        {"active": False},
    ],
)
def test_a_schedule_that_changes_while_it_is_judged_is_not_judged_by_what_it_was(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    pipeline_id = add(engine, **NIGHTLY)

    def change_first(*arguments: Any) -> Any:
        with engine.begin() as other:
            change_pipeline(other, pipeline_id, **change)
        return expected_runs(*arguments)

    monkeypatch.setattr(service, "expected_runs", change_first)

    assert check(engine, after_due(hours=1)) == NOTHING
    assert pipeline(engine)["expected_next_run"] == change.get("expected_next_run", DUE)
    assert pipeline(engine)["last_missed_run"] is None
    assert missed(engine) == []


def test_an_alert_of_a_run_just_before_midnight_names_both_days_in_utc(engine: Engine) -> None:
    """Expected at 23:30 UTC, which is the next day in Berlin; its grace ends after midnight UTC."""
    late = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
    fields: dict[str, Any] = {"schedule": "30 0 * * *", "schedule_timezone": "Europe/Berlin"}
    add(engine, expected_next_run=late, schedule_grace_minutes=45, **fields)

    assert check(engine, late + timedelta(minutes=46)) == Found(logged=1, alerted=1, left_out=0)
    text = "expected 2026-11-20 23:30 UTC (30 0 * * *, Europe/Berlin), not started by 2026-11-21 00:15 UTC"
    assert raised(engine)[0]["details"] == [["orders", text]]
    assert pipeline(engine)["expected_next_run"] == late + timedelta(days=1)


def test_two_checks_at_once_tell_once(engine: Engine) -> None:
    for number in range(50):
        add(engine, f"pipeline {number}", **NIGHTLY)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: check(engine, after_due(hours=1)).logged, range(4)))

    assert sum(found) == 50
    assert len(missed(engine)) == 50
    assert sum(int(alert["message"].split()[0]) for alert in raised(engine)) == 50


def test_one_alert_names_the_first_twenty_pipelines_and_counts_the_rest(engine: Engine) -> None:
    for number in range(23):
        add(engine, f"pipeline {number:02}", **NIGHTLY)

    assert check(engine, after_due(hours=1)).alerted == 23

    (alert,) = raised(engine)
    assert alert["message"] == "23 run(s) missed"
    assert [label for label, _ in alert["details"]] == [*(f"pipeline {n:02}" for n in range(20)), "Others"]
    assert alert["details"][-1][1] == "and 3 more"


def test_the_alert_says_how_much_lies_downstream(engine: Engine) -> None:
    draw_addresses(engine, 3)
    with engine.begin() as connection:
        change_pipeline(connection, 1, **NIGHTLY)
        edge = {"pipeline_id": 1, "source_address_id": 1, "target_address_id": 2}
        connection.execute(insert(AddressLineage).values(edge))
        for source, target, path in ((1, 2, [1, 2]), (2, 3, [2, 3]), (1, 3, [1, 2, 3]), (2, 2, [2])):
            values = {"source_address_id": source, "target_address_id": target, "depth": len(path) - 1}
            connection.execute(insert(AddressLineageClosure).values(lineage_path=path, **values))

    check(engine, after_due(hours=1))

    assert raised(engine)[0]["details"][0][1].endswith("not started by 02:10 UTC, 1 address downstream")


def test_a_zone_that_this_machine_lacks_stops_no_other_pipeline(engine: Engine) -> None:
    add(engine, "nowhere", schedule_timezone="Mars/Olympus", **NIGHTLY)
    add(engine, "orders", **NIGHTLY)

    assert check(engine, after_due(hours=1)).logged == 1


NIGHTS = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
]


@pytest.mark.parametrize("schedule", ["30 2 * * *", "30 1 * * *", "*/30 * * * *"])
@pytest.mark.parametrize(("zone", "day"), NIGHTS)
def test_daylight_saving_misses_no_run_and_none_twice(engine: Engine, zone: str, day: str, schedule: str) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    evening, next_noon = noon - timedelta(hours=18), noon + timedelta(hours=24)
    expected = list(Schedule(schedule, zone).runs(evening, next_noon - timedelta(minutes=30)))
    common: dict[str, Any] = {"schedule": schedule, "schedule_timezone": zone, "expected_next_run": expected[0]}
    add(engine, "starts", started=[run + timedelta(seconds=2) for run in expected], **common)
    silent = add(engine, "never starts", **common)

    for hour in range(1, 43):
        check(engine, evening + timedelta(hours=hour))

    with engine.connect() as connection:
        logged = [(row["pipeline_id"], row["expected_at"]) for row in rows(connection, MissedRunLog)]
    assert logged == [(silent, run) for run in expected]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    step=st.sampled_from([5, 20, 30]),
    grace=st.integers(0, 25),
    starts=st.lists(st.integers(-1800, 3 * 3600), max_size=15),
    checks=st.lists(st.integers(0, 3 * 3600), max_size=4),
    last=st.integers(0, 3 * 3600),
)
def test_what_is_missed_is_what_a_plain_model_says(
    engine: Engine, *, step: int, grace: int, starts: list[int], checks: list[int], last: int
) -> None:
    with engine.begin() as connection:
        for table in ("missed_run_log", "pipeline_execution", "pipeline", "pipeline_type"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    started = [after_due(seconds=seconds) for seconds in starts]
    common: dict[str, Any] = {"schedule": f"*/{step} * * * *", "schedule_grace_minutes": grace}
    add(engine, started=started, expected_next_run=DUE, **common)

    for seconds in [*sorted(each for each in checks if each < last), last]:
        check(engine, after_due(seconds=seconds))

    distance, allowed = timedelta(minutes=step), timedelta(minutes=grace)
    early, late = min(allowed, distance / 2), min(allowed, distance)
    runs = [DUE + number * distance for number in range(3 * 60 // step + 1)]
    over = [run for run in runs if run + allowed < after_due(seconds=last)]
    assert missed(engine) == [run for run in over if not any(run - early <= start <= run + late for start in started)]


def test_the_task_looks_at_the_time_that_it_is(engine: Engine) -> None:
    add(engine, "missed", schedule="0 2 * * *", expected_next_run=ago(minutes=11))
    add(engine, "waits", schedule="0 2 * * *", expected_next_run=ago(minutes=9))
    add(engine, "not due", schedule="0 2 * * *", expected_next_run=now() + timedelta(minutes=1))

    assert schedule_check_task() == {"new_missed_runs": 1, "alerted": 1, "left_out": 0}


async def test_a_request_queues_the_check(client: httpx.AsyncClient, engine: Engine) -> None:
    answer = await client.post("/schedule_check")

    assert (answer.status_code, answer.json()) == (200, {"status": "queued"})
    with engine.connect() as connection:
        (message,) = rows(connection, OutboxMessage)
    assert (message["task_name"], message["kwargs"], message["queue"]) == ("schedule_check_task", {}, "scheduled")
