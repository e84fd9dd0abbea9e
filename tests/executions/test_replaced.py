"""Runs that Watcher ended: lost ones, and those of a pipeline that has at most one run at a time."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.factories import START, end, make_pipeline, start

LATER = START + timedelta(hours=1)


def _outcomes(engine: Engine) -> list[tuple[int, str | None, bool | None, bool]]:
    statement = "SELECT id, outcome, completed_successfully, end_date IS NOT NULL FROM pipeline_execution ORDER BY id"
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


async def test_a_new_run_ends_the_one_before_as_lost_where_only_one_may_be_open(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    pipeline_id = await make_pipeline(client, max_concurrent=1)

    for at in (START, LATER):
        await start(client, pipeline_id, at)

    assert _outcomes(engine) == [(1, "lost", False, True), (2, None, None, False)]
    lost = (await client.get("/pipeline_execution/1")).json()
    assert (lost["end_date"], lost["duration_seconds"]) == (START.isoformat(), None)


async def test_so_does_a_start_of_today(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client, max_concurrent=1)

    for _ in range(2):
        await client.post("/start_pipeline_execution", json={"pipeline_id": pipeline_id})

    assert [outcome for _, outcome, _, _ in _outcomes(engine)] == ["lost", None]


async def test_so_does_a_ping(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client, max_concurrent=1)
    url = (await client.get("/pipeline/1")).json()["ping_url"]

    for _ in range(2):
        await client.get(f"{url}/start")

    assert [outcome for _, outcome, _, _ in _outcomes(engine)] == ["lost", None]


async def test_what_ran_below_it_is_its_last_sign_of_life(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client, max_concurrent=1)
    step_id = await make_pipeline(client, "step")
    await start(client, pipeline_id, START)
    await start(client, step_id, START + timedelta(minutes=7), parent_id=1)

    await start(client, pipeline_id, LATER)

    lost = (await client.get("/pipeline_execution/1")).json()
    assert lost["end_date"] == (START + timedelta(minutes=7)).isoformat()


@pytest.mark.parametrize("fields", [{"max_concurrent": 2}, {}])
async def test_elsewhere_the_run_before_goes_on(
    client: httpx.AsyncClient, engine: Engine, fields: dict[str, Any]
) -> None:
    pipeline_id = await make_pipeline(client, **fields)

    for at in (START, LATER):
        await start(client, pipeline_id, at)

    assert [outcome for _, outcome, _, _ in _outcomes(engine)] == [None, None]


async def test_a_backfill_runs_beside_the_others(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client, max_concurrent=1)
    await start(client, pipeline_id, START)
    await start(client, pipeline_id, LATER, backfill=True)

    assert [ended for *_, ended in _outcomes(engine)] == [False, False]


async def test_the_late_end_of_a_lost_run_repairs_it(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client, max_concurrent=1)
    for at in (START, LATER):
        await start(client, pipeline_id, at)

    answer = await end(client, 1, LATER, inserts=5)

    assert answer.status_code == 204
    assert _outcomes(engine)[0] == (1, None, True, True)
    assert (await client.get("/pipeline_execution/1")).json()["duration_seconds"] == 3600
    assert (await client.get(f"/pipeline/{pipeline_id}")).json()["last_target_insert"] == "2026-03-01T03:00:00Z"


@pytest.mark.parametrize("query", ["", "?rid=7b1f9d2e-0000-4000-8000-000000000001"])
async def test_so_does_a_late_ping(client: httpx.AsyncClient, engine: Engine, query: str) -> None:
    await make_pipeline(client)
    url = (await client.get("/pipeline/1")).json()["ping_url"]
    await client.get(f"{url}/start{query}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE pipeline_execution SET end_date = now(), outcome = 'lost'"))

    await client.get(f"{url}{query}")

    assert _outcomes(engine) == [(1, None, True, True)]
