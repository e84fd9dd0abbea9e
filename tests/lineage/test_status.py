"""How each address of the graph does, by the pipelines that write it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.incidents.records import add_incident
from tests.lineage.graphs import draw_addresses, draw_edges
from tests.support.checks import run_checks
from tests.support.factories import end, start
from tests.support.rows import add_anomaly, ago, change_pipeline, now

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=3)


async def run(client: httpx.AsyncClient, pipeline_id: int, at: datetime, **fields: Any) -> int:
    execution_id = await start(client, pipeline_id, at)
    await end(client, execution_id, at + timedelta(minutes=1), **fields)
    return execution_id


async def statuses(client: httpx.AsyncClient, engine: Engine) -> dict[int, str]:
    run_checks(engine)
    graph = (await client.get("/lineage-graph/", params={"source_address_id": 1})).json()
    return {node["id"]: node["status"] for node in graph["nodes"]}


@pytest.fixture
def written(client: httpx.AsyncClient, engine: Engine) -> None:
    """Pipeline 1 reads address 1 and writes address 2."""
    draw_addresses(engine, 2)
    draw_edges(engine, [(1, 2)])


@pytest.mark.usefixtures("written")
async def test_what_nobody_has_written_is_unknown(client: httpx.AsyncClient, engine: Engine) -> None:
    assert await statuses(client, engine) == {1: "unknown", 2: "unknown"}


@pytest.mark.usefixtures("written")
async def test_the_latest_run_decides_whenever_it_was_reported(client: httpx.AsyncClient, engine: Engine) -> None:
    await run(client, 1, NOW)
    await run(client, 1, LONG_AGO, success=False)
    assert (await statuses(client, engine))[2] == "ok"

    await run(client, 1, NOW + timedelta(hours=1), success=False)
    assert (await statuses(client, engine))[2] == "failing"

    await start(client, 1, NOW + timedelta(hours=2))
    assert (await statuses(client, engine))[2] == "failing"

    await run(client, 1, NOW + timedelta(hours=3))
    assert (await statuses(client, engine))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_a_run_that_goes_on_is_running_until_it_is_late(client: httpx.AsyncClient, engine: Engine) -> None:
    execution_id = await start(client, 1, NOW - timedelta(hours=2))
    assert (await statuses(client, engine))[2] == "running"

    with engine.begin() as connection:
        change_pipeline(connection, 1, timeliness_warning_number=1, timeliness_warning_datepart="hour")
    assert (await statuses(client, engine))[2] == "running"

    with engine.begin() as connection:
        change_pipeline(connection, 1, timeliness_number=1, timeliness_datepart="hour")
    assert (await statuses(client, engine))[2] == "late"

    await end(client, execution_id, NOW)
    assert (await statuses(client, engine))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_out_of_range_is_anomalous_until_that_is_over(client: httpx.AsyncClient, engine: Engine) -> None:
    execution_id = await run(client, 1, NOW)
    with engine.begin() as connection:
        add_anomaly(connection, 1, execution_id, "updates")
        add_incident(connection, 1, "anomalous", execution_id=execution_id)
    assert (await statuses(client, engine))[2] == "anomalous"

    unflag = {"pipeline_id": 1, "pipeline_execution_id": execution_id, "metric_field": ["updates"]}
    assert (await client.post("/unflag_anomaly", json=unflag)).is_success
    assert (await statuses(client, engine))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_a_stale_state_lasts_until_the_next_write(client: httpx.AsyncClient, engine: Engine) -> None:
    await run(client, 1, LONG_AGO, inserts=5)
    assert (await statuses(client, engine))[2] == "ok"

    await client.patch("/pipeline", json={"id": 1, "freshness_number": 1, "freshness_datepart": "day"})
    assert (await statuses(client, engine))[2] == "stale"

    await run(client, 1, NOW - timedelta(hours=2), inserts=0)
    assert (await statuses(client, engine))[2] == "stale"

    await client.patch("/pipeline", json={"id": 1, "mute_freshness_check": True})
    assert (await statuses(client, engine))[2] == "ok"

    await client.patch("/pipeline", json={"id": 1, "mute_freshness_check": False})
    assert (await statuses(client, engine))[2] == "stale"

    await run(client, 1, NOW - timedelta(hours=1), inserts=5)
    assert (await statuses(client, engine))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_a_missed_run_lasts_until_the_next_one(client: httpx.AsyncClient, engine: Engine) -> None:
    await run(client, 1, LONG_AGO)
    with engine.begin() as connection:
        change_pipeline(connection, 1, schedule="* * * * *", expected_next_run=ago(hours=1))
    assert (await statuses(client, engine))[2] == "missed"

    # Not when this module was read: runs may have been missed since.
    await run(client, 1, now())
    assert (await statuses(client, engine))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_an_address_does_as_the_worst_of_its_active_pipelines(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_edges(engine, [(1, 2)], 2)
    await run(client, 1, NOW)
    await run(client, 2, NOW, success=False)
    assert (await statuses(client, engine))[2] == "failing"

    await client.patch("/pipeline", json={"id": 2, "active": False})
    assert (await statuses(client, engine))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_the_worst_comes_first(client: httpx.AsyncClient, engine: Engine) -> None:
    for pipeline in (2, 3):
        draw_edges(engine, [(1, 2)], pipeline)
    await run(client, 1, LONG_AGO, inserts=5)
    assert (await statuses(client, engine))[2] == "ok"

    await client.patch("/pipeline", json={"id": 1, "freshness_number": 1, "freshness_datepart": "day"})
    await run(client, 2, NOW)
    assert (await statuses(client, engine))[2] == "stale"

    await start(client, 3, NOW)
    assert (await statuses(client, engine)) == {1: "unknown", 2: "stale"}
