"""Runs that never end: they are lost after a time, and too many of them at once are an incident."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text, update

from tests.incidents.records import add_incident
from tests.support.rows import add_pipeline, add_run, ago, alerts, rows
from watcher_server.executions.models import PipelineExecution
from watcher_server.incidents.endless import EndlessRuns
from watcher_server.incidents.models import Incident
from watcher_server.incidents.resolving import resolve_what_is_over
from watcher_server.incidents.tasks import judge_failure_task
from watcher_server.settings import load_settings


def look(engine: Engine, times: int = 2, **settings: Any) -> None:
    """What the keeper does each minute, so many minutes."""
    runs = EndlessRuns(load_settings(**settings))
    for _ in range(times):
        runs.look(engine)


def add(engine: Engine, name: str = "orders", *, usual_minutes: float | None = None, **fields: Any) -> int:
    """A pipeline; with a usual time, one that has run ten times."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, name, **fields)
        for number in range(10 if usual_minutes else 0):
            end = ago(days=30 + number)
            add_run(
                connection,
                pipeline_id,
                start_date=end - timedelta(minutes=usual_minutes or 0),
                end_date=end,
                duration_seconds=60 * (usual_minutes or 0),
            )
    return pipeline_id


def open_run(engine: Engine, pipeline_id: int, **fields: Any) -> int:
    with engine.begin() as connection:
        return add_run(connection, pipeline_id, end_date=None, **fields)


def stored(engine: Engine, execution_id: int) -> dict[str, Any]:
    with engine.connect() as connection:
        (row,) = [row for row in rows(connection, PipelineExecution) if row["id"] == execution_id]
    return row


def is_lost(engine: Engine, execution_id: int) -> bool:
    return bool(stored(engine, execution_id)["outcome"] == "lost")


def incidents(engine: Engine, kind: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [row for row in rows(connection, Incident) if row["kind"] == kind]


def messages(engine: Engine) -> list[tuple[str, str, str]]:
    with engine.connect() as connection:
        return [(alert["title"], alert["message"], alert["text"]) for alert in alerts(connection)]


def sweep(engine: Engine) -> None:
    with engine.begin() as connection:
        resolve_what_is_over(connection)


def test_a_run_that_was_silent_for_a_day_ends_as_lost_when_it_was_heard_last(engine: Engine) -> None:
    began = ago(hours=25)
    run = open_run(engine, add(engine), start_date=began)

    look(engine)

    row = stored(engine, run)
    assert (row["end_date"], row["outcome"], row["completed_successfully"]) == (began, "lost", False)
    assert row["duration_seconds"] is None
    (incident,) = incidents(engine, "lost")
    assert incident["detail"] == (
        f"Execution ID {run} is lost: nothing was heard of it after {began:%Y-%m-%d %H:%M} UTC"
    )
    ((title, message, details),) = messages(engine)
    assert (title, message) == ("Pipeline Runs Lost", "1 run(s) lost")
    assert incident["detail"] in details


def test_it_is_told_once_however_long_ago_it_was(engine: Engine) -> None:
    run = open_run(engine, add(engine), start_date=ago(days=400))

    look(engine, times=5)

    assert is_lost(engine, run)
    assert [message for _, message, _ in messages(engine)] == ["1 run(s) lost"]


def test_one_that_is_reported_long_after_it_ran_is_not_lost_between_its_start_and_its_end(engine: Engine) -> None:
    run = open_run(engine, add(engine), start_date=ago(days=3))

    look(engine, times=1)

    assert not is_lost(engine, run)


@pytest.mark.parametrize(
    ("fields", "silent_for", "lost"),
    [
        # Without a history: the setting.
        ({}, timedelta(hours=23), False),
        ({}, timedelta(hours=25), True),
        # Three times what is usual, an hour at least.
        ({"usual_minutes": 30}, timedelta(minutes=89), False),
        ({"usual_minutes": 30}, timedelta(minutes=91), True),
        ({"usual_minutes": 1}, timedelta(minutes=59), False),
        ({"usual_minutes": 1}, timedelta(minutes=61), True),
        ({"usual_minutes": 600}, timedelta(hours=29), False),
        ({"usual_minutes": 600}, timedelta(hours=31), True),
        # What the pipeline says itself comes first.
        ({"usual_minutes": 30, "lost_after_hours": 5}, timedelta(hours=4), False),
        ({"usual_minutes": 30, "lost_after_hours": 0.5}, timedelta(minutes=31), True),
        ({"lost_after_hours": 1e300}, timedelta(days=900), False),
        # A run that is in time is no lost one.
        (
            {"usual_minutes": 30, "timeliness_number": 3, "timeliness_datepart": "hour"},
            timedelta(minutes=179),
            False,
        ),
        ({"usual_minutes": 30, "timeliness_number": 3, "timeliness_datepart": "hour"}, timedelta(minutes=181), True),
        ({"type_fields": {"timeliness_number": 2, "timeliness_datepart": "day"}}, timedelta(hours=47), False),
    ],
)
def test_how_long_a_run_may_be_silent(
    engine: Engine, fields: dict[str, Any], silent_for: timedelta, *, lost: bool
) -> None:
    run = open_run(engine, add(engine, **fields), start_date=ago(seconds=silent_for.total_seconds()))

    look(engine)

    assert is_lost(engine, run) == lost


def test_the_setting_holds_where_nothing_else_is_known(engine: Engine) -> None:
    run = open_run(engine, add(engine), start_date=ago(minutes=31))

    look(engine, lost_after_hours=0.5)

    assert is_lost(engine, run)


async def test_a_run_that_sends_a_line_is_not_silent(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = add(engine, lost_after_hours=1)
    run = open_run(engine, pipeline_id, start_date=ago(hours=2))
    with engine.connect() as connection:
        uuid = connection.scalar(text("SELECT ping_uuid FROM pipeline"))
    assert (await client.post(f"/ping/{uuid}/log", content="Half of it is done.")).status_code == 200

    look(engine)

    assert not is_lost(engine, run)
    _heard(engine, run, ago(minutes=61))
    look(engine)
    row = stored(engine, run)
    assert (row["outcome"], row["end_date"]) == ("lost", row["heard_at"])


def _heard(engine: Engine, run: int, moment: datetime) -> None:
    with engine.begin() as connection:
        connection.execute(update(PipelineExecution).where(PipelineExecution.id == run).values(heard_at=moment))


def test_a_run_waits_for_what_it_has_started(engine: Engine) -> None:
    caller, called = add(engine, "caller", lost_after_hours=1), add(engine, "called", lost_after_hours=5)
    parent = open_run(engine, caller, start_date=ago(hours=6))
    child = open_run(engine, called, start_date=ago(hours=4), parent_id=parent)

    look(engine)

    assert (is_lost(engine, parent), is_lost(engine, child)) == (False, False)
    with engine.begin() as connection:
        ended = {"end_date": ago(hours=2), "completed_successfully": True}
        connection.execute(update(PipelineExecution).where(PipelineExecution.id == child).values(ended))
    look(engine)
    assert stored(engine, parent)["end_date"] == stored(engine, child)["end_date"]


def test_a_backfill_takes_as_long_as_it_likes(engine: Engine) -> None:
    run = open_run(engine, add(engine), start_date=ago(days=900), backfill=True)

    look(engine)

    assert not is_lost(engine, run)


def test_a_lost_run_is_no_failure_that_the_pipeline_reported(engine: Engine) -> None:
    pipeline_id = add(engine, usual_minutes=1)
    run = open_run(engine, pipeline_id, start_date=ago(hours=2))
    look(engine)

    assert judge_failure_task(pipeline_id=pipeline_id, pipeline_execution_id=run)["incident_id"] is None
    assert incidents(engine, "failing") == []


@pytest.mark.parametrize("succeeded", [True, False])
def test_it_is_over_when_a_later_run_ends(engine: Engine, *, succeeded: bool) -> None:
    pipeline_id = add(engine)
    open_run(engine, pipeline_id, start_date=ago(hours=25))
    look(engine)
    sweep(engine)
    assert [row["state"] for row in incidents(engine, "lost")] == ["open"]

    with engine.begin() as connection:
        add_run(connection, pipeline_id, completed_successfully=succeeded)
    sweep(engine)

    assert [row["state"] for row in incidents(engine, "lost")] == ["resolved"]


def test_it_is_over_when_its_end_arrives_after_all(engine: Engine) -> None:
    run = open_run(engine, add(engine), start_date=ago(hours=25))
    look(engine)

    with engine.begin() as connection:
        repaired = {"end_date": ago(), "completed_successfully": True, "outcome": None}
        connection.execute(update(PipelineExecution).where(PipelineExecution.id == run).values(repaired))
    sweep(engine)

    assert [row["state"] for row in incidents(engine, "lost")] == ["resolved"]


def test_one_that_is_found_after_a_later_run_has_ended_is_told_and_over(engine: Engine) -> None:
    pipeline_id = add(engine)
    open_run(engine, pipeline_id, start_date=ago(hours=25))
    with engine.begin() as connection:
        add_run(connection, pipeline_id)

    look(engine)

    assert [row["state"] for row in incidents(engine, "lost")] == ["resolved"]
    assert [message for _, message, _ in messages(engine)] == ["1 run(s) lost"]


def test_the_lost_runs_of_a_pipeline_are_one_incident_that_counts_them(engine: Engine) -> None:
    pipeline_id = add(engine)
    for hours in (30, 29, 28):
        open_run(engine, pipeline_id, start_date=ago(hours=hours))
    look(engine)
    open_run(engine, pipeline_id, start_date=ago(hours=27))
    look(engine)

    (incident,) = incidents(engine, "lost")
    assert incident["count"] == 4
    assert [message for _, message, _ in messages(engine)] == ["3 run(s) lost"]


def test_a_paused_pipeline_tells_of_no_lost_run(engine: Engine) -> None:
    run = open_run(engine, add(engine, active=False), start_date=ago(hours=25))

    look(engine)

    assert is_lost(engine, run)
    assert (incidents(engine, "lost"), messages(engine)) == ([], [])


def test_a_run_that_the_next_one_has_ended_is_told_once(engine: Engine) -> None:
    pipeline_id = add(engine, max_concurrent=1)
    for minutes in (30, 20, 10):
        with engine.begin() as connection:
            moment = ago(minutes=minutes)
            add_run(
                connection,
                pipeline_id,
                start_date=moment,
                end_date=moment,
                completed_successfully=False,
                outcome="lost",
            )
        look(engine)

    (incident,) = incidents(engine, "lost")
    assert (incident["state"], incident["count"]) == ("open", 3)
    assert [message for _, message, _ in messages(engine)] == ["1 run(s) lost"]


@pytest.mark.parametrize(
    ("most", "number", "opens"), [(None, 9, False), (None, 10, True), (3, 3, False), (3, 4, True), (20, 15, False)]
)
def test_runs_that_pile_up_are_an_incident(engine: Engine, most: int | None, number: int, *, opens: bool) -> None:
    pipeline_id = add(engine, max_concurrent=most)
    for minutes in range(number, 0, -1):
        latest = open_run(engine, pipeline_id, start_date=ago(minutes=minutes))

    look(engine)

    found = [(row["count"], row["execution_id"]) for row in incidents(engine, "overlapping")]
    assert found == ([(number, latest)] if opens else [])
    assert len(messages(engine)) == (1 if opens else 0)


def test_they_are_told_once_and_over_when_few_are_left(engine: Engine) -> None:
    pipeline_id = add(engine, max_concurrent=2)
    first, *others = [open_run(engine, pipeline_id, start_date=ago(minutes=9 - number)) for number in range(4)]
    look(engine)
    sweep(engine)
    look(engine)

    (incident,) = incidents(engine, "overlapping")
    assert incident["state"] == "open"
    assert incident["detail"] == f"4 runs are open at once, 2 may be, the latest is execution ID {others[-1]}"
    assert incident["since"] == stored(engine, others[1])["start_date"]
    assert len(messages(engine)) == 1
    with engine.begin() as connection:
        ended = {"end_date": ago(), "completed_successfully": True}
        connection.execute(update(PipelineExecution).where(PipelineExecution.id.in_([first, others[0]])).values(ended))
    sweep(engine)
    assert [row["state"] for row in incidents(engine, "overlapping")] == ["resolved"]


def test_backfills_may_overlap(engine: Engine) -> None:
    pipeline_id = add(engine, max_concurrent=1)
    for _ in range(3):
        open_run(engine, pipeline_id, backfill=True)

    look(engine)

    assert incidents(engine, "overlapping") == []


async def test_a_job_that_never_ends_does_not_look_healthy(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = add(engine)
    for minutes in range(12, 0, -1):
        open_run(engine, pipeline_id, start_date=ago(minutes=minutes))

    look(engine)

    found = (await client.get(f"/pipeline/{pipeline_id}")).json()
    assert (found["status"], found["also"]) == ("overlapping", ["running"])
    page = (await client.get(f"/ui/pipelines/{pipeline_id}/standing")).text
    assert "12 runs are open at once" in page


def test_a_failing_incident_outlives_a_lost_run(engine: Engine) -> None:
    pipeline_id = add(engine)
    with engine.begin() as connection:
        add_run(connection, pipeline_id, end_date=ago(hours=40), completed_successfully=False)
        add_incident(connection, pipeline_id, "failing")
    open_run(engine, pipeline_id, start_date=ago(hours=25))

    look(engine)
    sweep(engine)

    assert [row["state"] for row in incidents(engine, "failing")] == ["open"]


def test_nothing_is_wrong_with_the_open_runs_of_a_retired_pipeline(engine: Engine) -> None:
    crowded = add(engine, archived_at=ago(hours=1))
    for _ in range(12):
        open_run(engine, crowded)
    silent = open_run(engine, crowded, start_date=ago(days=3))
    replaced = add(engine, "items", archived_at=ago(hours=1), max_concurrent=1)
    with engine.begin() as connection:
        add_run(connection, replaced, completed_successfully=False, outcome="lost")

    look(engine)

    assert is_lost(engine, silent)
    assert [*incidents(engine, "lost"), *incidents(engine, "overlapping"), *messages(engine)] == []


def test_messages_name_the_pipeline_as_it_was_first_spelt(engine: Engine) -> None:
    pipeline_id = add(engine, display_name="Orders")
    for _ in range(12):
        open_run(engine, pipeline_id)
    open_run(engine, pipeline_id, start_date=ago(days=3))

    look(engine)

    assert [details.startswith('[["Orders", ') for _, _, details in messages(engine)] == [True, True]
