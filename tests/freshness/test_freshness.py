"""Which pipelines are stale, and who is told."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.rows import add_pipeline, ago, alerts, change_pipeline, rows
from watcher_server.celery_tasks import freshness_check_task
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.tasking.models import OutboxMessage

HOURLY: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "hour"}
DAILY: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "day"}


def check() -> int:
    return int(freshness_check_task()["new_stale_pipelines"])


def add(engine: Engine, name: str = "orders", **fields: Any) -> int:
    with engine.begin() as connection:
        return add_pipeline(connection, name, **fields)


def logged(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return rows(connection, FreshnessPipelineLog)


def test_a_stale_pipeline_is_logged_and_alerted_once(engine: Engine) -> None:
    written = ago(hours=2)
    pipeline_id = add(engine, last_target_insert=written, last_target_update=ago(hours=3), **HOURLY)

    assert (check(), check()) == (1, 0)

    (log,) = logged(engine)
    assert (log["pipeline_id"], log["last_dml_timestamp"]) == (pipeline_id, written)
    assert (log["freshness_number"], log["freshness_datepart"], log["used_child_config"]) == (1, "hour", True)
    assert log["evaluated_at"] is not None
    with engine.connect() as connection:
        (alert,) = alerts(connection)
    assert (alert["level"], alert["title"]) == ("WARNING", "Freshness Check - Pipeline DML")
    assert alert["message"] == "Freshness Check Failed - 1 NEW pipeline(s) overdue"
    assert alert["details"] == [["orders", f"last DML {written:%Y-%m-%d %H:%M:%S} UTC, expected every 1 hour(s)"]]


@pytest.mark.parametrize("kind", ["last_target_insert", "last_target_update", "last_target_soft_delete"])
def test_any_recent_write_keeps_a_pipeline_fresh(engine: Engine, kind: str) -> None:
    writes: dict[str, Any] = {
        "last_target_insert": ago(days=9),
        "last_target_update": ago(days=9),
        kind: ago(minutes=59),
    }
    add(engine, **writes, **HOURLY)

    assert check() == 0


def test_it_is_told_again_once_it_wrote_and_went_stale_again(engine: Engine) -> None:
    pipeline_id = add(engine, last_target_insert=ago(hours=5), **HOURLY)
    assert check() == 1

    with engine.begin() as connection:
        change_pipeline(connection, pipeline_id, last_target_soft_delete=ago(minutes=1))
    assert check() == 0
    with engine.begin() as connection:
        change_pipeline(connection, pipeline_id, last_target_soft_delete=ago(hours=2))
    assert (check(), check()) == (1, 0)

    with engine.connect() as connection:
        assert len(alerts(connection)) == 2


def test_a_pipeline_that_never_wrote_counts_from_its_creation(engine: Engine) -> None:
    add(engine, "new", created_at=ago(minutes=59), **HOURLY)
    old = add(engine, "old", created_at=ago(minutes=61), **HOURLY)

    assert (check(), check()) == (1, 0)

    (log,) = logged(engine)
    assert (log["pipeline_id"], log["last_dml_timestamp"]) == (old, None)
    with engine.connect() as connection:
        assert alerts(connection)[0]["details"] == [["old", "never written, expected every 1 hour(s)"]]


def test_the_pipelines_own_pair_wins_over_its_types(engine: Engine) -> None:
    add(engine, "own", last_target_insert=ago(hours=2), type_fields=DAILY, **HOURLY)
    add(
        engine,
        "patient",
        last_target_insert=ago(hours=25),
        type_fields=DAILY,
        freshness_number=2,
        freshness_datepart="day",
    )
    add(engine, "inherits", last_target_insert=ago(hours=25), type_fields=DAILY)
    add(engine, "fresh", last_target_insert=ago(hours=23), type_fields=DAILY)

    assert check() == 2

    assert [(log["freshness_datepart"], log["used_child_config"]) for log in logged(engine)] == [
        ("hour", True),
        ("day", False),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"active": False, **HOURLY},
        {"mute_freshness_check": True, **HOURLY},
        {"type_fields": {"mute_freshness_check": True}, **HOURLY},
        {"type_fields": {"mute_freshness_check": True, **HOURLY}},
        {},
    ],
    ids=["inactive", "muted", "muted type", "muted type with a pair", "no pair"],
)
def test_it_does_not_check(engine: Engine, fields: dict[str, Any]) -> None:
    add(engine, last_target_insert=ago(days=900), **fields)

    assert check() == 0


def test_a_threshold_beyond_the_calendar_is_never_exceeded_and_breaks_nothing(engine: Engine) -> None:
    for datepart in ("minute", "hour", "day", "week", "month", "quarter", "year"):
        add(engine, datepart, last_target_insert=ago(days=900), freshness_number=2**31 - 1, freshness_datepart=datepart)
    add(engine, "stale", last_target_insert=ago(hours=2), **HOURLY)

    assert check() == 1


@pytest.mark.parametrize(
    ("moment", "number", "datepart", "deadline"),
    [
        ("2026-01-31 12:00:00", 1, "month", "2026-02-28 12:00:00"),
        ("2024-01-31 12:00:00", 1, "month", "2024-02-29 12:00:00"),
        ("2025-11-30 12:00:00", 1, "quarter", "2026-02-28 12:00:00"),
        ("2024-02-29 12:00:00", 1, "year", "2025-02-28 12:00:00"),
        ("2026-03-28 12:00:00", 2, "day", "2026-03-30 12:00:00"),
        ("2026-01-31 12:00:00", 2, "week", "2026-02-14 12:00:00"),
        ("2026-01-31 12:00:00", 90, "minute", "2026-01-31 13:30:00"),
    ],
)
def test_months_quarters_and_years_are_calendar_units(
    engine: Engine, moment: str, number: int, datepart: str, deadline: str
) -> None:
    statement = "SELECT watcher_deadline(CAST(:moment AS timestamptz), :number, :datepart)"
    with engine.connect() as connection:
        found: datetime = connection.execute(
            text(statement), {"moment": moment, "number": number, "datepart": datepart}
        ).scalar_one()

    assert f"{found:%Y-%m-%d %H:%M:%S}" == deadline


def test_one_alert_names_the_first_twenty_and_counts_the_rest(engine: Engine) -> None:
    for number in range(23):
        add(engine, f"pipeline {number:02}", last_target_insert=ago(hours=2), **HOURLY)

    assert check() == 23

    with engine.connect() as connection:
        (alert,) = alerts(connection)
    assert alert["message"] == "Freshness Check Failed - 23 NEW pipeline(s) overdue"
    assert [label for label, _ in alert["details"][:20]] == [f"pipeline {number:02}" for number in range(20)]
    assert alert["details"][20:] == [["Others", "and 3 more"]]


def test_two_checks_at_once_tell_once(engine: Engine) -> None:
    for number in range(50):
        add(engine, f"pipeline {number:02}", last_target_insert=ago(hours=2), **HOURLY)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: check(), range(4)))

    assert sorted(found) == [0, 0, 0, 50]
    with engine.connect() as connection:
        assert len(alerts(connection)) == 1


WARNS: dict[str, Any] = {"freshness_warning_number": 30, "freshness_warning_datepart": "minute"}


def warn() -> tuple[int, int]:
    """How many new stale pipelines a check found, and how many that are close to it."""
    counts = freshness_check_task()
    return counts["new_stale_pipelines"], counts["new_warnings"]


def test_a_warning_comes_once_and_the_failure_after_it(engine: Engine) -> None:
    pipeline_id = add(engine, last_target_insert=ago(minutes=45), **HOURLY, **WARNS)

    assert (warn(), warn()) == ((0, 1), (0, 0))
    with engine.begin() as connection:
        change_pipeline(connection, pipeline_id, freshness_number=40, freshness_datepart="minute")
    assert (warn(), warn()) == ((1, 0), (0, 0))

    assert [(log["severity"], log["freshness_number"]) for log in logged(engine)] == [("warning", 30), ("failure", 40)]
    with engine.connect() as connection:
        warning, failure = alerts(connection)
    assert (warning["level"], failure["level"]) == ("INFO", "WARNING")
    assert warning["title"] == failure["title"] == "Freshness Check - Pipeline DML"
    assert warning["message"] == "Freshness Check Warning - 1 pipeline(s) close to overdue"
    assert warning["details"][0][1].endswith("UTC, expected every 30 minute(s)")
    assert failure["message"] == "Freshness Check Failed - 1 NEW pipeline(s) overdue"


def test_no_warning_comes_after_a_failure_of_the_same_state(engine: Engine) -> None:
    never = add(engine, "never", created_at=ago(minutes=61), **HOURLY, **WARNS)
    wrote = add(engine, "wrote", last_target_insert=ago(minutes=61), **HOURLY, **WARNS)
    assert warn() == (2, 0)

    with engine.begin() as connection:
        for pipeline_id in (never, wrote):
            change_pipeline(connection, pipeline_id, freshness_number=9)
    assert warn() == (0, 0)
    with engine.begin() as connection:
        change_pipeline(connection, wrote, last_target_insert=ago(minutes=50))
    assert warn() == (0, 1)


def test_a_warning_needs_no_failing_pair_and_is_the_pipelines_own_or_its_types(engine: Engine) -> None:
    type_fields = {"freshness_warning_number": 2, "freshness_warning_datepart": "hour"}
    add(engine, "own", last_target_insert=ago(minutes=31), type_fields=type_fields, **WARNS)
    add(engine, "inherits", last_target_insert=ago(minutes=121), type_fields=type_fields)
    add(engine, "fresh", last_target_insert=ago(minutes=119), type_fields=type_fields)
    add(engine, "muted", last_target_insert=ago(days=9), mute_freshness_check=True, **WARNS)
    add(engine, "inactive", last_target_insert=ago(days=9), active=False, **WARNS)

    assert warn() == (0, 2)

    found = [(log["freshness_datepart"], log["used_child_config"]) for log in logged(engine)]
    assert found == [("minute", True), ("hour", False)]


def test_failures_and_warnings_are_an_alert_each_with_twenty_names(engine: Engine) -> None:
    for number in range(22):
        add(engine, f"stale {number:02}", last_target_insert=ago(hours=2), **HOURLY)
        add(engine, f"close {number:02}", last_target_insert=ago(minutes=45), **HOURLY, **WARNS)

    assert (warn(), warn()) == ((22, 22), (0, 0))

    with engine.connect() as connection:
        found = alerts(connection)
    for alert, name in zip(found, ("stale", "close"), strict=True):
        names = [label for label, _ in alert["details"]]
        assert names == [*(f"{name} {number:02}" for number in range(20)), "Others"]
        assert alert["details"][-1][1] == "and 2 more"


def test_the_alert_says_how_much_lies_downstream(engine: Engine) -> None:
    add(engine, last_target_insert=ago(hours=2), **HOURLY)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO address_type (name, group_name) VALUES ('table', 'database')"))
        for name in ("raw", "clean", "report"):
            connection.execute(text("INSERT INTO address (name, address_type_id) VALUES (:name, 1)"), {"name": name})
        edge = "INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id) VALUES (1, 1, 2)"
        connection.execute(text(edge))
        closure = (
            "INSERT INTO address_lineage_closure (source_address_id, target_address_id, depth, lineage_path)"
            " VALUES (1, 2, 1, '{1,2}'), (2, 3, 1, '{2,3}'), (1, 3, 2, '{1,2,3}')"
        )
        connection.execute(text(closure))

    assert check() == 1

    with engine.connect() as connection:
        assert alerts(connection)[0]["details"][0][1].endswith("expected every 1 hour(s), 1 address downstream")


async def test_a_request_queues_the_check(client: httpx.AsyncClient, engine: Engine) -> None:
    answer = await client.post("/freshness")

    assert (answer.status_code, answer.json()) == (200, {"status": "queued"})
    with engine.connect() as connection:
        (message,) = rows(connection, OutboxMessage)
    assert (message["task_name"], message["kwargs"], message["queue"]) == ("freshness_check_task", {}, "scheduled")
