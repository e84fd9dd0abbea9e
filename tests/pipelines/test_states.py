"""How each pipeline stands by its schedule."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.support.rows import add_pipeline, add_run, ago, now
from watcher_server.pipelines.states import find_with_state

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
    missed = due() - timedelta(hours=1)
    start = missed + started_after
    run = {"start_date": start, "end_date": start + timedelta(seconds=30)}
    add(engine, run, last_missed_run=missed, expected_next_run=due() + timedelta(hours=1), **hourly(missed))

    assert await state(client) == expected


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


async def test_each_reading_is_planned_for_its_filters(engine: Engine) -> None:
    """A plan for any filters takes ten times as long as one for none, at twenty thousand pipelines."""
    add(engine, schedule="0 * * * *", expected_next_run=ago(hours=1))
    asynchronous = create_async_engine(engine.url)
    try:
        async with AsyncSession(asynchronous) as session:
            for _ in range(12):
                assert len(await find_with_state(session)) == 1
                await session.commit()
            prepared = "SELECT generic_plans, custom_plans > 0 FROM pg_prepared_statements"
            assert (await session.execute(text(f"{prepared} WHERE statement LIKE '%opening%'"))).all() == [(0, True)]
    finally:
        await asynchronous.dispose()


async def test_a_zone_that_this_machine_lacks_does_not_hide_the_pipelines(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    add(engine, schedule="0 * * * *", schedule_timezone="Mars/Olympus", expected_next_run=ago(hours=1))

    assert await state(client) == "missed"


async def test_a_schedule_in_a_zone_that_this_machine_lacks_wants_another_zone(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    add(engine, schedule="0 * * * *", schedule_timezone="Mars/Olympus", expected_next_run=now())

    refused = await client.patch("/pipeline", json={"id": 1, "schedule": "30 * * * *"})
    mended = await client.patch("/pipeline", json={"id": 1, "schedule": "30 * * * *", "schedule_timezone": "UTC"})

    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "schedule_timezone"]
    assert mended.status_code == 200
