"""Which executions are overdue, and who is told."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, update

from tests.support.rows import add_pipeline, add_run, ago, alerts, change_pipeline, rows
from tests.support.tasks import add_task
from watcher_server.celery_tasks import timeliness_check_task
from watcher_server.executions.models import PipelineExecution
from watcher_server.tasking.models import OutboxMessage
from watcher_server.timeliness.models import TimelinessExecutionLog

WITHIN_10_MINUTES: dict[str, Any] = {"timeliness_number": 10, "timeliness_datepart": "minute"}
WITHIN_AN_HOUR: dict[str, Any] = {"timeliness_number": 1, "timeliness_datepart": "hour"}


def check(lookback_minutes: int = 60) -> tuple[int, int]:
    """How many executions were logged, and how many of them alerted."""
    counts = timeliness_check_task(lookback_minutes=lookback_minutes)
    return counts["new_overdue_executions"], counts["alerted"]


def add(engine: Engine, name: str = "orders", **fields: Any) -> int:
    with engine.begin() as connection:
        return add_pipeline(connection, name, **fields)


def run(engine: Engine, pipeline_id: int, started_ago: int, took: float | None = None, **fields: Any) -> int:
    """An execution that started so many minutes ago and took so many, or still runs."""
    start = ago(minutes=started_ago)
    end = None if took is None else start + timedelta(minutes=took)
    with engine.begin() as connection:
        return add_run(connection, pipeline_id, start_date=start, end_date=end, **fields)


def logged(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return rows(connection, TimelinessExecutionLog)


def test_an_overdue_run_is_logged_and_alerted_once(engine: Engine) -> None:
    pipeline_id = add(engine, **WITHIN_10_MINUTES)
    late = run(engine, pipeline_id, started_ago=50, took=20)
    run(engine, pipeline_id, started_ago=50, took=10)

    assert (check(), check()) == ((1, 1), (0, 0))

    (log,) = logged(engine)
    log.pop("evaluated_at")
    assert log == {
        "id": log["id"],
        "pipeline_execution_id": late,
        "pipeline_id": pipeline_id,
        "duration_seconds": 1200,
        "seconds_threshold": 600,
        "execution_status": "completed",
        "timely_number": 10,
        "timely_datepart": "minute",
        "used_child_config": True,
        "severity": "failure",
    }
    with engine.connect() as connection:
        (alert,) = alerts(connection)
    assert (alert["level"], alert["title"]) == ("WARNING", "Timeliness Check - Pipeline Execution")
    assert alert["message"] == "Timeliness Check Failed - 1 new execution(s) overdue"
    ((label, value),) = alert["details"]
    assert label == f"orders (execution {late})"
    assert value.startswith("took 0:20:00 since 20")
    assert value.endswith(" UTC, expected within 10 minute(s)")


def test_a_running_one_is_found_whatever_its_start_and_not_told_again_at_its_end(engine: Engine) -> None:
    pipeline_id = add(engine, **WITHIN_10_MINUTES)
    run(engine, pipeline_id, started_ago=9)
    late = run(engine, pipeline_id, started_ago=60 * 24 * 40)

    assert check(lookback_minutes=5) == (1, 1)
    with engine.begin() as connection:
        ended = {"end_date": ago(minutes=1), "completed_successfully": True}
        connection.execute(update(PipelineExecution).where(PipelineExecution.id == late).values(ended))
    assert check(lookback_minutes=60 * 24 * 50) == (0, 0)

    (log,) = logged(engine)
    assert (log["pipeline_execution_id"], log["execution_status"]) == (late, "running")
    assert log["duration_seconds"] == pytest.approx(40 * 86_400, abs=60)


@pytest.mark.parametrize(("lookback", "found"), [(29, 0), (31, 1)])
def test_an_ended_one_is_found_within_the_lookback_of_its_end(engine: Engine, lookback: int, found: int) -> None:
    run(engine, add(engine, **WITHIN_10_MINUTES), started_ago=50, took=20)

    assert check(lookback) == (found, found)


def test_one_that_began_before_the_lookback_is_found_when_it_ends(engine: Engine) -> None:
    pipeline_id = add(engine, timeliness_number=2, timeliness_datepart="hour")
    late = run(engine, pipeline_id, started_ago=125, took=124)

    assert (check(lookback_minutes=60), check(lookback_minutes=60)) == ((1, 1), (0, 0))

    (log,) = logged(engine)
    assert (log["pipeline_execution_id"], log["execution_status"]) == (late, "completed")


@pytest.mark.parametrize(("state", "found"), [("SUCCESS", 1), ("FAILURE", 0)])
def test_after_beat_was_away_the_check_looks_back_to_the_last_one_that_succeeded(
    engine: Engine, state: str, found: int
) -> None:
    run(engine, add(engine, **WITHIN_10_MINUTES), started_ago=200, took=20)
    with engine.begin() as connection:
        add_task(connection, state, "timeliness_check_task", created_at=ago(hours=4))

    assert check() == (found, found)


def test_a_backfill_is_judged_when_it_has_ended(engine: Engine) -> None:
    pipeline_id = add(engine, **WITHIN_10_MINUTES)
    run(engine, pipeline_id, started_ago=60 * 24, backfill=True)
    late = run(engine, pipeline_id, started_ago=50, took=20, backfill=True)

    assert check() == (1, 1)
    assert [log["pipeline_execution_id"] for log in logged(engine)] == [late]


def test_a_failed_one_is_skipped(engine: Engine) -> None:
    run(engine, add(engine, **WITHIN_10_MINUTES), started_ago=50, took=20, completed_successfully=False)

    assert check() == (0, 0)


def test_the_pipelines_own_pair_wins_over_its_types(engine: Engine) -> None:
    for name, fields in (("own", WITHIN_10_MINUTES), ("inherits", {})):
        pipeline_id = add(engine, name, type_fields=WITHIN_AN_HOUR, **fields)
        run(engine, pipeline_id, started_ago=59)
        run(engine, pipeline_id, started_ago=61)

    assert check() == (3, 3)

    assert [(log["seconds_threshold"], log["used_child_config"]) for log in logged(engine)] == [
        (600, True),
        (600, True),
        (3600, False),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"active": False, **WITHIN_10_MINUTES},
        {"mute_timeliness_check": True, **WITHIN_10_MINUTES},
        {"type_fields": {"mute_timeliness_check": True}, **WITHIN_10_MINUTES},
        {},
    ],
    ids=["inactive", "muted", "muted type", "no pair"],
)
def test_it_does_not_check(engine: Engine, fields: dict[str, Any]) -> None:
    pipeline_id = add(engine, **fields)
    run(engine, pipeline_id, started_ago=50)
    run(engine, pipeline_id, started_ago=50, took=49)

    assert check() == (0, 0)


def test_a_threshold_beyond_the_calendar_is_never_exceeded_and_breaks_nothing(engine: Engine) -> None:
    for datepart in ("minute", "hour", "day", "week", "month", "quarter", "year"):
        far: dict[str, Any] = {"timeliness_number": 2**31 - 1, "timeliness_datepart": datepart}
        run(engine, add(engine, datepart, **far), started_ago=10_000_000)
    run(engine, add(engine, **WITHIN_10_MINUTES), started_ago=50)

    assert check() == (1, 1)


def test_a_month_is_a_calendar_month(engine: Engine) -> None:
    pipeline_id = add(engine, timeliness_number=1, timeliness_datepart="month")
    with engine.begin() as connection:
        for days in (28, 31, 32):
            start = ago(days=0).replace(year=2026, month=1, day=31, hour=12)
            end = start + timedelta(days=days, minutes=1)
            add_run(connection, pipeline_id, start_date=start, end_date=end)

    assert check(lookback_minutes=2**31 - 1)[0] == 3
    assert {log["seconds_threshold"] for log in logged(engine)} == {28 * 86_400}


def test_what_completed_more_than_a_day_ago_is_logged_but_not_alerted(engine: Engine) -> None:
    pipeline_id = add(engine, **WITHIN_10_MINUTES)
    for _ in range(30):
        run(engine, pipeline_id, started_ago=60 * 26, took=60)
    assert check(lookback_minutes=60 * 48) == (30, 0)

    for _ in range(30):
        run(engine, pipeline_id, started_ago=60 * 26, took=60)
    recent = run(engine, pipeline_id, started_ago=60 * 26, took=60 * 3)
    running = run(engine, pipeline_id, started_ago=60 * 40)
    assert check(lookback_minutes=60 * 48) == (32, 2)

    with engine.connect() as connection:
        (alert,) = alerts(connection)
    assert alert["message"] == "Timeliness Check Failed - 2 new execution(s) overdue"
    assert [label for label, _ in alert["details"]] == [f"orders (execution {id_})" for id_ in (recent, running)]


def test_one_alert_names_the_first_twenty_and_counts_the_rest(engine: Engine) -> None:
    pipeline_id = add(engine, **WITHIN_10_MINUTES)
    for _ in range(22):
        run(engine, pipeline_id, started_ago=50)

    assert check() == (22, 22)

    with engine.connect() as connection:
        (alert,) = alerts(connection)
    assert len(alert["details"]) == 21
    assert alert["details"][-1] == ["Others", "and 2 more"]


def test_two_checks_at_once_tell_once(engine: Engine) -> None:
    pipeline_id = add(engine, **WITHIN_10_MINUTES)
    for _ in range(50):
        run(engine, pipeline_id, started_ago=50)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: check(), range(4)))

    assert sorted(found) == [(0, 0), (0, 0), (0, 0), (50, 50)]
    with engine.connect() as connection:
        assert len(alerts(connection)) == 1


WARN_AT_5_MINUTES: dict[str, Any] = {"timeliness_warning_number": 5, "timeliness_warning_datepart": "minute"}


def warn(lookback_minutes: int = 60) -> tuple[int, int, int, int]:
    """How many overdue executions were logged and alerted, and how many close to it."""
    counts = timeliness_check_task(lookback_minutes=lookback_minutes)
    return (
        counts["new_overdue_executions"],
        counts["alerted"],
        counts["new_warnings"],
        counts["warnings_alerted"],
    )


def test_a_warning_comes_once_and_the_failure_after_it(engine: Engine) -> None:
    pipeline_id = add(engine, **WITHIN_10_MINUTES, **WARN_AT_5_MINUTES)
    close = run(engine, pipeline_id, started_ago=7)
    run(engine, pipeline_id, started_ago=4)
    run(engine, pipeline_id, started_ago=50, took=4)
    run(engine, pipeline_id, started_ago=50, took=7, completed_successfully=False)

    assert (warn(), warn()) == ((0, 0, 1, 1), (0, 0, 0, 0))
    with engine.begin() as connection:
        changed = {"start_date": ago(minutes=11)}
        connection.execute(update(PipelineExecution).where(PipelineExecution.id == close).values(changed))
    assert (warn(), warn()) == ((1, 1, 0, 0), (0, 0, 0, 0))

    assert [(log["severity"], log["seconds_threshold"]) for log in logged(engine)] == [
        ("warning", 300),
        ("failure", 600),
    ]
    with engine.connect() as connection:
        warning, failure = alerts(connection)
    assert (warning["level"], failure["level"]) == ("INFO", "WARNING")
    assert warning["title"] == failure["title"] == "Timeliness Check - Pipeline Execution"
    assert warning["message"] == "Timeliness Check Warning - 1 execution(s) close to overdue"
    assert warning["details"][0][1].endswith("UTC, expected within 5 minute(s)")
    assert failure["message"] == "Timeliness Check Failed - 1 new execution(s) overdue"


def test_no_warning_comes_after_a_failure_of_the_same_execution(engine: Engine) -> None:
    pipeline_id = add(engine, **WITHIN_10_MINUTES, **WARN_AT_5_MINUTES)
    run(engine, pipeline_id, started_ago=50, took=20)
    assert warn() == (1, 1, 0, 0)

    with engine.begin() as connection:
        change_pipeline(connection, pipeline_id, timeliness_number=30)

    assert warn() == (0, 0, 0, 0)


def test_a_warning_needs_no_failing_pair_and_is_the_pipelines_own_or_its_types(engine: Engine) -> None:
    type_fields = {"timeliness_warning_number": 20, "timeliness_warning_datepart": "minute"}
    for name, fields in (
        ("own", WARN_AT_5_MINUTES),
        ("inherits", {}),
        ("muted", {"mute_timeliness_check": True}),
        ("inactive", {"active": False}),
    ):
        pipeline_id = add(engine, name, type_fields=type_fields, **fields)
        run(engine, pipeline_id, started_ago=50, took=15)
        run(engine, pipeline_id, started_ago=60 * 24 * 40)

    assert warn() == (0, 0, 3, 3)

    assert [(log["timely_number"], log["used_child_config"]) for log in logged(engine)] == [
        (5, True),
        (5, True),
        (20, False),
    ]


def test_what_completed_more_than_a_day_ago_warns_in_the_log_only(engine: Engine) -> None:
    pipeline_id = add(engine, **WARN_AT_5_MINUTES)
    run(engine, pipeline_id, started_ago=60 * 26, took=7)
    assert warn(lookback_minutes=60 * 48) == (0, 0, 1, 0)

    with engine.connect() as connection:
        assert alerts(connection) == []


@pytest.mark.parametrize("lookback", ["60", None, 60.0, True, 0, 2**31])
def test_a_lookback_that_cannot_be_is_refused(lookback: Any) -> None:
    with pytest.raises(ValueError, match="lookback_minutes must be an integer from 1 to"):
        timeliness_check_task(lookback_minutes=lookback)


@pytest.mark.parametrize(
    ("request_body", "lookback"),
    [(None, 60), ({}, 60), ({"lookback_minutes": 5}, 5), ({"lookback_minutes": 2**31 - 1}, 2**31 - 1)],
)
async def test_a_request_queues_the_check(
    client: httpx.AsyncClient, engine: Engine, request_body: dict[str, Any] | None, lookback: int
) -> None:
    answer = await (
        client.post("/timeliness") if request_body is None else client.post("/timeliness", json=request_body)
    )

    assert (answer.status_code, answer.json()) == (200, {"status": "queued"})
    with engine.connect() as connection:
        (message,) = rows(connection, OutboxMessage)
    assert (message["task_name"], message["queue"]) == ("timeliness_check_task", "scheduled")
    assert message["kwargs"] == {"lookback_minutes": lookback}


@pytest.mark.parametrize("lookback", [4, 2**31, None, "soon", 1.5])
async def test_a_lookback_out_of_bounds_is_a_422(client: httpx.AsyncClient, lookback: Any) -> None:
    answer = await client.post("/timeliness", json={"lookback_minutes": lookback})

    assert answer.status_code == 422
