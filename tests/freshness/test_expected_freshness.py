"""Data is stale when it should have been written: by the schedule, on the days of a calendar, if anything."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.support.checks import run_checks
from tests.support.rows import add_pipeline, add_run, ago, alerts, change_pipeline, now
from watcher_server.celery_tasks import freshness_check_task
from watcher_server.missed_runs.service import check_schedules

BERLIN = ZoneInfo("Europe/Berlin")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAILY: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "day"}
HOURLY: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "hour"}


def on(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """A moment of November 2026, whose 2nd is a Monday."""
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC)


# At two in the night from Monday to Friday. The last run wrote on Friday at half past two.
WEEKDAY_LOAD: dict[str, Any] = {
    "schedule": "0 2 * * MON-FRI",
    "expected_next_run": on(9, 2),
    "last_target_insert": on(6, 2, 30),
    **DAILY,
}


def add(engine: Engine, name: str = "orders", **fields: Any) -> int:
    with engine.begin() as connection:
        return add_pipeline(connection, name, **fields)


def write(engine: Engine, at: datetime) -> None:
    with engine.begin() as connection:
        change_pipeline(connection, 1, last_target_insert=at)


def pass_by(engine: Engine, *moments: datetime) -> None:
    """Have the schedule check look at these moments."""
    for moment in moments:
        with engine.begin() as connection:
            check_schedules(connection, moment, alert_max_age_hours=24)


def stale_at(engine: Engine, pipeline_id: int = 1) -> datetime | None:
    with engine.connect() as connection:
        statement = text("SELECT stale_at FROM pipeline_effective WHERE id = :id")
        moment: datetime | None = connection.scalar(statement, {"id": pipeline_id})
        return moment


def check() -> int:
    return int(freshness_check_task()["new_stale_pipelines"])


def test_a_weekday_load_is_fresh_over_the_weekend_and_stale_a_day_after_monday(engine: Engine) -> None:
    add(engine, **WEEKDAY_LOAD)

    assert stale_at(engine) == on(10, 2)


def test_a_load_that_fails_for_days_is_stale_by_the_first_run_that_was_due(engine: Engine) -> None:
    add(engine, **WEEKDAY_LOAD)
    pass_by(engine, on(9, 2, 11), on(10, 2, 11), on(11, 2, 11))

    assert stale_at(engine) == on(10, 2)


def test_each_write_waits_for_the_next_run_that_is_due(engine: Engine) -> None:
    add(engine, **WEEKDAY_LOAD)
    pass_by(engine, on(9, 2, 11), on(10, 2, 11))
    write(engine, on(10, 14))

    assert stale_at(engine) == on(12, 2)


def test_after_an_outage_of_the_checks_it_is_not_stale_before_they_know_what_was_due(engine: Engine) -> None:
    add(engine, **WEEKDAY_LOAD)
    # Nobody checked from Monday on, and the load wrote on Monday and Tuesday.
    write(engine, on(10, 2, 30))
    assert stale_at(engine) is None

    pass_by(engine, on(13, 12))

    assert stale_at(engine) == on(12, 2)


def test_a_run_that_starts_and_writes_a_little_early_is_the_one_that_was_due(engine: Engine) -> None:
    pipeline_id = add(engine, **{**WEEKDAY_LOAD, "last_target_insert": on(9, 1, 59, 55)})
    assert stale_at(engine) is None
    with engine.begin() as connection:
        add_run(connection, pipeline_id, start_date=on(9, 1, 59, 50), end_date=on(9, 1, 59, 55))

    pass_by(engine, on(9, 2))

    assert stale_at(engine) == on(11, 2)


def test_a_pipeline_that_never_wrote_is_stale_after_its_first_run_was_due(engine: Engine) -> None:
    fields = {**WEEKDAY_LOAD, "last_target_insert": None, "created_at": on(7, 12)}
    add(engine, **fields)

    assert stale_at(engine) == on(10, 2)


def test_warnings_count_from_the_same_run(engine: Engine) -> None:
    add(engine, **WEEKDAY_LOAD, freshness_warning_number=12, freshness_warning_datepart="hour")

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT stale_warning_at FROM pipeline_effective")) == on(9, 14)


async def test_another_schedule_counts_from_now_on(client: httpx.AsyncClient, engine: Engine) -> None:
    due = ago(days=3)
    add(engine, **{**WEEKDAY_LOAD, "last_target_insert": ago(days=5), "due_since": due, "expected_next_run": now()})
    assert stale_at(engine) == due + timedelta(days=1)

    changed = (await client.patch("/pipeline", json={"id": 1, "schedule": "0 3 * * *"})).json()

    assert stale_at(engine) == datetime.fromisoformat(changed["expected_next_run"]) + timedelta(days=1)
    await client.patch("/pipeline", json={"id": 1, "schedule": None})
    assert stale_at(engine) is not None
    assert check() == 1


async def test_check_page_and_api_agree_on_a_load_that_is_not_due_today(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    next_run = (now() + timedelta(days=2)).replace(hour=2, minute=0, second=0, microsecond=0)
    weekly = f"0 2 * * {next_run.isoweekday() % 7}"
    written = {"last_target_insert": ago(days=4), **DAILY}
    add(engine, "weekly", schedule=weekly, expected_next_run=next_run, **written)
    add(engine, "clock", **written)

    run_checks(engine)

    found = {row["name"]: row["status"] for row in (await client.get("/pipeline")).json()}
    assert found == {"weekly": "ok", "clock": "stale"}
    pages = [(await client.get(f"/ui/pipelines/{number}")).text for number in (1, 2)]
    assert ["its data is too old" in page for page in pages] == [False, True]
    with engine.connect() as connection:
        (alert,) = alerts(connection)
    assert [name for name, _ in alert["details"]] == ["clock"]


def test_the_alert_says_since_when_a_run_was_due(engine: Engine) -> None:
    due, written = ago(days=3), ago(days=5)
    later = now() + timedelta(days=1)
    add(engine, schedule="0 2 * * *", expected_next_run=later, due_since=due, last_target_insert=written, **DAILY)

    assert check() == 1

    with engine.connect() as connection:
        (alert,) = alerts(connection)
    assert alert["details"] == [
        [
            "orders",
            f"last DML {written:%Y-%m-%d %H:%M:%S} UTC, expected every 1 day(s), due since {due:%Y-%m-%d %H:%M:%S} UTC",
        ]
    ]


@pytest.mark.parametrize(
    ("calendar", "written", "threshold", "expected"),
    [
        ("mon-fri", on(6, 18), (1, "day"), on(9, 18)),
        ("mon-fri", on(6, 18), (6, "hour"), on(9)),
        ("mon-fri", on(7, 12), (2, "hour"), on(9, 2)),
        ("mon-fri", on(2, 9), (5, "day"), on(9, 9)),
        ("mon-fri", on(6, 18), (90, "minute"), on(6, 19, 30)),
        ("sat,sun", on(4), (1, "day"), on(8)),
        ("sat-mon", on(8, 12), (1, "day"), on(9, 12)),
        ("wed", on(4, 6), (1, "week"), datetime(2026, 12, 23, 6, tzinfo=UTC)),
        ("mon-sun", on(6, 18), (1, "day"), on(7, 18)),
    ],
)
def test_time_outside_the_days_of_the_calendar_does_not_count(
    engine: Engine, calendar: str, written: datetime, threshold: tuple[int, str], expected: datetime
) -> None:
    number, datepart = threshold
    pair: dict[str, Any] = {"freshness_number": number, "freshness_datepart": datepart}
    add(engine, freshness_calendar=calendar, last_target_insert=written, **pair)

    assert stale_at(engine) == expected


def test_days_are_those_of_the_zone_of_the_schedule(engine: Engine) -> None:
    friday = {"freshness_calendar": "mon-fri", "last_target_insert": on(6, 22, 30), **HOURLY}
    add(engine, "Berlin", schedule_timezone="Europe/Berlin", **friday)
    add(engine, "UTC", **friday)

    # At half past ten it is half past eleven in Berlin: half an hour of Friday is left, and half an hour of Monday.
    assert stale_at(engine, 1) == on(8, 23, 30)
    assert stale_at(engine, 2) == on(6, 23, 30)


def test_the_days_of_a_calendar_count_from_the_run_that_was_due(engine: Engine) -> None:
    fields = {**WEEKDAY_LOAD, "schedule": "0 2 * * *", "expected_next_run": on(7, 2)}
    add(engine, freshness_calendar="mon-fri", **fields)

    assert stale_at(engine) == on(10)


@pytest.mark.parametrize("datepart", ["minute", "day", "year"])
def test_a_threshold_that_no_calendar_has_is_never_exceeded(engine: Engine, datepart: str) -> None:
    longest: dict[str, Any] = {"freshness_number": 2**31 - 1, "freshness_datepart": datepart}
    add(engine, freshness_calendar="wed", last_target_insert=ago(days=900), **longest)

    assert check() == 0


def counted_deadline(days: set[int], zone: ZoneInfo, moment: datetime, seconds: int) -> datetime:
    """Day by day on the clock of the zone, as one would count with a finger."""
    local = moment.astimezone(zone).replace(tzinfo=None)
    while True:
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        left = (midnight - local).total_seconds()
        if local.weekday() in days:
            if seconds < left:
                return (local + timedelta(seconds=seconds)).replace(tzinfo=zone).astimezone(UTC)
            seconds -= int(left)
        local = midnight


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    days=st.sets(st.integers(0, 6), min_size=1),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"]),
    # Winter, when no zone changes its clock.
    minutes=st.integers(0, 60 * 24 * 60),
    hours=st.integers(1, 500),
)
def test_a_calendar_counts_as_one_would_by_hand(
    engine: Engine, days: set[int], zone: str, minutes: int, hours: int
) -> None:
    moment = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    parameters = {
        "calendar": ",".join(WEEKDAYS[day] for day in sorted(days)),
        "zone": zone,
        "moment": moment,
        "hours": hours,
    }
    with engine.connect() as connection:
        statement = text("SELECT watcher_due_on(:calendar, :zone, CAST(:moment AS timestamptz), :hours, 'hour')")
        found = connection.scalar(statement, parameters)

    expected = counted_deadline(days, ZoneInfo(zone), moment, hours * 3600)
    if expected < datetime(2027, 3, 1, tzinfo=UTC):
        assert found == expected


async def test_a_calendar_is_set_by_the_pipelines_own_code_changed_and_taken_back(client: httpx.AsyncClient) -> None:
    body = {"name": "orders", "pipeline_type_name": "load", "freshness_calendar": "Mon - Friday"}
    assert (await client.post("/pipeline", json=body)).status_code == 201
    assert (await client.get("/pipeline/1")).json()["freshness_calendar"] == "mon-fri"

    berlin = {"freshness_calendar": "sun,wed", "schedule_timezone": "europe/berlin"}
    changed = await client.patch("/pipeline", json={"id": 1, **berlin})
    assert changed.json()["freshness_calendar"] == "sun,wed"
    assert (await client.patch("/pipeline", json={"id": 1, "freshness_calendar": None})).json()[
        "freshness_calendar"
    ] is None


@pytest.mark.parametrize("name", ["office", "", "mon-", "mon--fri", "mon-wed-fri", "mon fri", "1-5"])
async def test_a_calendar_that_nobody_knows_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, engine: Engine, name: str
) -> None:
    add(engine, freshness_calendar="mon-fri")

    answer = await client.patch("/pipeline", json={"id": 1, "freshness_calendar": name})

    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert 'must be weekdays such as "mon-fri"' in error["msg"]
    posted = {"name": "new", "pipeline_type_name": "load", "freshness_calendar": name}
    assert (await client.post("/pipeline", json=posted)).status_code == 422
    assert [row["freshness_calendar"] for row in (await client.get("/pipeline")).json()] == ["mon-fri"]


def test_a_run_that_had_nothing_to_do_keeps_the_data_fresh_from_its_end(engine: Engine) -> None:
    pipeline_id = add(engine, last_target_insert=ago(hours=5), **HOURLY)
    assert check() == 1
    ended = ago(minutes=20)
    with engine.begin() as connection:
        add_run(connection, pipeline_id, end_date=ended, nothing_to_do=True)

    assert stale_at(engine) == ended + timedelta(hours=1)
    run_checks(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT state FROM incident")) == "resolved"


@pytest.mark.parametrize(
    "run",
    [
        {"nothing_to_do": False},
        {"nothing_to_do": True, "completed_successfully": False},
        {"nothing_to_do": True, "backfill": True},
    ],
    ids=["had something to do", "failed", "loaded the past"],
)
def test_other_runs_keep_nothing_fresh(engine: Engine, run: dict[str, Any]) -> None:
    pipeline_id = add(engine, last_target_insert=ago(hours=5), **HOURLY)
    with engine.begin() as connection:
        add_run(connection, pipeline_id, end_date=ago(minutes=20), **run)

    assert check() == 1


def test_it_is_told_again_once_it_looked_and_then_did_not(engine: Engine) -> None:
    pipeline_id = add(engine, last_target_insert=ago(hours=5), **HOURLY)
    assert check() == 1
    with engine.begin() as connection:
        add_run(connection, pipeline_id, end_date=ago(hours=3), nothing_to_do=True)

    assert (check(), check()) == (1, 0)


async def test_the_page_says_when_it_last_had_nothing_to_do(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = add(engine, last_target_insert=ago(hours=5), freshness_calendar="mon-sun", **HOURLY)
    with engine.begin() as connection:
        add_run(connection, pipeline_id, end_date=ago(hours=3), nothing_to_do=True)
    run_checks(engine)

    page = (await client.get("/ui/pipelines/1")).text

    assert "and last had nothing to do at" in page
    assert "it is to write every 1 hour of mon-sun" in page
    assert "and only mon-sun counts" in (await client.get("/ui/pipelines")).text
