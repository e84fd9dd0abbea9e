"""How each pipeline stands by its schedule, and how it does."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.incidents.records import add_incident
from tests.support.checks import run_checks
from tests.support.rows import add_pipeline, add_run, ago, now

# A run was expected three minutes ago: with a grace of ten it is late, with one of two it is over.
MINUTES_AGO = 3


def due() -> datetime:
    return now().replace(second=0, microsecond=0) - timedelta(minutes=MINUTES_AGO)


def hourly(moment: datetime, **fields: Any) -> dict[str, Any]:
    """A schedule of which one run is at that moment."""
    return {"schedule": f"{moment.minute} * * * *", **fields}


async def state(client: httpx.AsyncClient, pipeline_id: int = 1) -> str | None:
    listed = {row["id"]: row["state"] for row in (await client.get("/pipeline")).json()}
    alone: str | None = (await client.get(f"/pipeline/{pipeline_id}")).json()["state"]
    assert listed[pipeline_id] == alone
    return alone


def add(engine: Engine, *runs: dict[str, Any], **fields: Any) -> int:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, fields.pop("name", "orders"), **fields)
        for run in runs:
            add_run(connection, pipeline_id, **run)
    return pipeline_id


RUNNING: dict[str, Any] = {"start_date": ago(hours=1), "end_date": None}
ENDED: dict[str, Any] = {"start_date": ago(hours=2), "end_date": ago(hours=1)}


@pytest.mark.parametrize(
    ("fields", "runs", "expected"),
    [
        ({}, [], None),
        ({}, [ENDED], None),
        ({}, [RUNNING], "running"),
        ({"active": False}, [RUNNING], "paused"),
        ({"schedule": "0 * * * *", "expected_next_run": now() + timedelta(hours=1)}, [], "on_time"),
        ({"schedule": "0 * * * *", "expected_next_run": now() + timedelta(hours=1)}, [RUNNING], "running"),
    ],
)
async def test_paused_before_running_before_its_schedule(
    client: httpx.AsyncClient, engine: Engine, fields: dict[str, Any], runs: list[dict[str, Any]], expected: str | None
) -> None:
    add(engine, *runs, **fields)

    assert await state(client) == expected


async def test_a_run_that_is_due_is_late_within_its_grace_and_missed_after_it(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    moment = due()
    late = add(engine, expected_next_run=moment, name="late", **hourly(moment, schedule_grace_minutes=10))
    over = add(engine, expected_next_run=moment, name="over", **hourly(moment, schedule_grace_minutes=2))

    # Until the check has been there, both may still start.
    assert [await state(client, pipeline_id) for pipeline_id in (late, over)] == ["late", "late"]
    run_checks(engine)
    assert [await state(client, pipeline_id) for pipeline_id in (late, over)] == ["late", "missed"]


async def test_a_run_that_is_due_and_has_started_is_on_time_before_any_check_has_seen_it(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    moment = due()
    run = {"start_date": moment - timedelta(minutes=2), "end_date": moment + timedelta(minutes=1)}
    add(engine, run, expected_next_run=moment, **hourly(moment))

    assert await state(client) == "on_time"


@pytest.mark.parametrize(
    ("started_after", "expected"),
    [
        (-timedelta(minutes=11), "missed"),
        (-timedelta(minutes=9), "on_time"),
        (timedelta(minutes=30), "on_time"),
    ],
)
async def test_a_missed_run_is_missed_until_one_starts(
    client: httpx.AsyncClient, engine: Engine, started_after: timedelta, expected: str
) -> None:
    moment = due() - timedelta(minutes=30)
    pipeline_id = add(engine, expected_next_run=moment, **hourly(moment))
    run_checks(engine)
    assert await state(client) == "missed"

    start = moment + started_after
    with engine.begin() as connection:
        add_run(connection, pipeline_id, start_date=start, end_date=start + timedelta(seconds=30))
    run_checks(engine)

    assert await state(client) == expected


async def test_status_and_state_agree_of_every_schedule(client: httpx.AsyncClient, engine: Engine) -> None:
    moment, later = due(), now() + timedelta(hours=1)
    early = {"start_date": moment - timedelta(minutes=2), "end_date": moment}
    short: dict[str, Any] = {"expected_next_run": moment, **hourly(moment, schedule_grace_minutes=2)}
    add(engine, name="due", expected_next_run=moment, **hourly(moment))
    add(engine, name="missed", **short)
    add(engine, early, name="began early", expected_next_run=moment, **hourly(moment))
    add(engine, RUNNING, name="missed while one runs", overlap="expected", **short)
    add(engine, RUNNING, name="skipped while one runs", **short)
    add(engine, RUNNING, name="skipped within its grace", expected_next_run=moment, **hourly(moment))
    add(engine, RUNNING, name="running", expected_next_run=later, **hourly(later))
    add(engine, name="paused", active=False, **short)
    run_checks(engine)

    found = {row["name"]: (row["state"], row["status"], row["also"]) for row in (await client.get("/pipeline")).json()}

    assert found == {
        "due": ("late", "unknown", ["due"]),
        "missed": ("missed", "missed", []),
        "began early": ("on_time", "ok", []),
        "missed while one runs": ("missed", "missed", ["running"]),
        "skipped while one runs": ("running", "running", []),
        "skipped within its grace": ("running", "running", []),
        "running": ("running", "running", []),
        "paused": ("paused", "paused", []),
    }


async def test_the_next_run_is_never_in_the_past(client: httpx.AsyncClient, engine: Engine) -> None:
    moment = due()
    add(engine, expected_next_run=moment, **hourly(moment, schedule_grace_minutes=10))

    alone, (listed,) = (await client.get("/pipeline/1")).json(), (await client.get("/pipeline")).json()
    facts = (await client.get("/ui/pipelines/1")).text.partition("Next run</dt>")[2].partition("</dd>")[0]

    assert alone["expected_next_run"] == listed["expected_next_run"]
    assert datetime.fromisoformat(alone["expected_next_run"]) == moment + timedelta(hours=1)
    assert f"{moment + timedelta(hours=1):%Y-%m-%d %H:%M}" in facts
    assert alone["also"] == ["due"]


async def test_a_run_that_never_ends_is_running_though_the_latest_run_has_ended(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    add(engine, {"start_date": ago(days=9), "end_date": None}, ENDED)

    found = (await client.get("/pipeline/1")).json()
    assert (found["state"], found["status"]) == ("running", "ok")


async def test_a_backfill_is_never_the_latest_run(client: httpx.AsyncClient, engine: Engine) -> None:
    add(engine, ENDED, {"start_date": ago(minutes=5), "end_date": None, "backfill": True}, name="ended")
    add(engine, RUNNING, {"start_date": ago(minutes=5), "end_date": ago(minutes=4), "backfill": True}, name="running")

    found = {row["name"]: row["status"] for row in (await client.get("/pipeline")).json()}

    assert found == {"ended": "ok", "running": "running"}


async def test_pipelines_are_filtered_by_state_and_paged(client: httpx.AsyncClient, engine: Engine) -> None:
    moment, later = due(), now() + timedelta(hours=1)
    for number in range(3):
        add(engine, name=f"late {number}", expected_next_run=moment, **hourly(moment))
        add(engine, name=f"on time {number}", expected_next_run=later, **hourly(later))
    add(engine, RUNNING, name="running")
    add(engine, name="paused", active=False)
    add(engine, name="no schedule")

    async def names(**query: Any) -> list[str]:
        answer = await client.get("/pipeline", params=query)
        assert answer.status_code == 200
        return [row["name"] for row in answer.json()]

    assert await names(state="late") == ["late 0", "late 1", "late 2"]
    assert await names(state="late", limit=1, offset=1) == ["late 1"]
    assert await names(state="on_time", name="TIME 2") == ["on time 2"]
    assert await names(state="running", active=True) == ["running"]
    assert await names(state="paused") == ["paused"]
    assert await names(state="missed") == []
    assert (await client.get("/pipeline", params={"state": "asleep"})).status_code == 422


async def test_pipelines_are_filtered_by_any_word_that_holds(client: httpx.AsyncClient, engine: Engine) -> None:
    moment = due()
    bad, odd = add(engine, ENDED, name="bad"), add(engine, RUNNING, name="odd")
    waited = add(engine, ENDED, name="waited for", expected_next_run=moment, **hourly(moment))
    with engine.begin() as connection:
        add_incident(connection, bad, "failing")
        add_incident(connection, bad, "stale", state="acknowledged")
        add_incident(connection, odd, "late")

    async def ids(state: str) -> list[int]:
        return [row["id"] for row in (await client.get("/pipeline", params={"state": state})).json()]

    assert await ids("failing") == await ids("stale") == [bad]
    assert await ids("ok") == await ids("due") == [waited]
    # A name of a state and of a status means the state.
    assert await ids("late") == [waited]
    assert await ids("running") == [odd]
    assert await ids("unknown") == []


@pytest.mark.parametrize("parameter", ["state", "status"])
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("failed", "bad"),
        ("Error", "bad"),
        ("healthy", "good"),
        ("OK", "good"),
        ("Inactive", "paused"),
        ("overdue", None),
    ],
)
async def test_what_people_type_finds_what_they_mean(
    client: httpx.AsyncClient, engine: Engine, parameter: str, typed: str, expected: str | None
) -> None:
    bad = add(engine, ENDED, name="bad")
    add(engine, ENDED, name="good")
    add(engine, name="paused", active=False)
    with engine.begin() as connection:
        add_incident(connection, bad, "failing")

    answer = await client.get("/pipeline", params={parameter: typed})

    assert answer.status_code == 200, answer.text
    assert [row["name"] for row in answer.json()] == ([] if expected is None else [expected])


async def test_a_status_is_filtered_for_itself_and_with_a_state(client: httpx.AsyncClient, engine: Engine) -> None:
    later = now() + timedelta(hours=1)
    late, odd = add(engine, RUNNING, name="late"), add(engine, ENDED, name="odd")
    planned = add(engine, ENDED, name="planned", expected_next_run=later, **hourly(later))
    with engine.begin() as connection:
        add_incident(connection, late, "late")
        add_incident(connection, odd, "failing")
        add_incident(connection, planned, "failing")
        add_incident(connection, planned, "anomalous")

    async def ids(**query: str) -> list[int]:
        return [row["id"] for row in (await client.get("/pipeline", params=query)).json()]

    # Here late is the status: a run takes too long.
    assert await ids(status="late") == [late]
    assert await ids(status="failing") == [odd, planned]
    assert await ids(status="anomalous") == [planned]
    assert await ids(status="failing", state="on-time") == [planned]
    wrong = await client.get("/pipeline", params={"status": "asleep"})
    assert wrong.status_code == 422
    assert "failing" in wrong.text


async def test_a_zone_that_this_machine_lacks_does_not_hide_the_pipelines(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    add(engine, schedule="0 * * * *", schedule_timezone="Mars/Olympus", expected_next_run=ago(hours=1))

    assert await state(client) == "late"


async def test_a_schedule_in_a_zone_that_this_machine_lacks_wants_another_zone(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    add(engine, schedule="0 * * * *", schedule_timezone="Mars/Olympus", expected_next_run=now())

    refused = await client.patch("/pipeline", json={"id": 1, "schedule": "30 * * * *"})
    mended = await client.patch("/pipeline", json={"id": 1, "schedule": "30 * * * *", "schedule_timezone": "UTC"})

    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "schedule_timezone"]
    assert mended.status_code == 200
