"""How each address of the graph does, by the pipelines that write it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.lineage.graphs import draw_addresses, draw_edges
from tests.support.factories import end, start
from watcher_server.pipelines.status import Status, worst

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=3)


def write(engine: Engine, statement: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)


async def run(client: httpx.AsyncClient, pipeline_id: int, at: datetime, **fields: Any) -> int:
    execution_id = await start(client, pipeline_id, at)
    await end(client, execution_id, at + timedelta(minutes=1), **fields)
    return execution_id


async def statuses(client: httpx.AsyncClient) -> dict[int, str]:
    graph = (await client.get("/lineage-graph/", params={"source_address_id": 1})).json()
    return {node["id"]: node["status"] for node in graph["nodes"]}


@pytest.fixture
def written(client: httpx.AsyncClient, engine: Engine) -> None:
    """Pipeline 1 reads address 1 and writes address 2."""
    draw_addresses(engine, 2)
    draw_edges(engine, [(1, 2)])


def log_stale(engine: Engine) -> None:
    write(
        engine,
        """
        INSERT INTO freshness_pipeline_log
            (pipeline_id, last_dml_timestamp, freshness_number, freshness_datepart, used_child_config)
        SELECT id, greatest(last_target_insert, last_target_update, last_target_soft_delete), 1, 'day', true
        FROM pipeline WHERE id = 1
        """,
    )


def log_overdue(engine: Engine, execution_id: int, severity: str = "failure") -> None:
    write(
        engine,
        """
        INSERT INTO timeliness_pipeline_execution_log (pipeline_execution_id, pipeline_id, execution_status,
            timely_number, timely_datepart, used_child_config, severity)
        VALUES (:id, 1, 'running', 1, 'hour', true, :severity)
        """,
        id=execution_id,
        severity=severity,
    )


@pytest.mark.usefixtures("written")
async def test_what_nobody_has_written_is_unknown(client: httpx.AsyncClient) -> None:
    assert await statuses(client) == {1: "unknown", 2: "unknown"}


@pytest.mark.usefixtures("written")
async def test_the_latest_run_decides_whenever_it_was_reported(client: httpx.AsyncClient) -> None:
    await run(client, 1, NOW)
    await run(client, 1, LONG_AGO, success=False)
    assert (await statuses(client))[2] == "ok"

    await run(client, 1, NOW + timedelta(hours=1), success=False)
    assert (await statuses(client))[2] == "failed"

    await start(client, 1, NOW + timedelta(hours=2))
    assert (await statuses(client))[2] == "failed"

    await run(client, 1, NOW + timedelta(hours=3))
    assert (await statuses(client))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_a_run_that_goes_on_is_running_until_it_is_logged_as_overdue(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    execution_id = await start(client, 1, NOW)
    assert (await statuses(client))[2] == "running"

    log_overdue(engine, execution_id, "warning")
    assert (await statuses(client))[2] == "running"

    log_overdue(engine, execution_id)
    assert (await statuses(client))[2] == "overdue"

    await end(client, execution_id, NOW + timedelta(days=1))
    assert (await statuses(client))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_a_flagged_run_is_anomalous_until_it_is_unflagged(client: httpx.AsyncClient, engine: Engine) -> None:
    execution_id = await run(client, 1, NOW)
    flag = "UPDATE pipeline_execution SET anomaly_flags = CAST(:flags AS jsonb) WHERE id = :id"

    write(engine, flag, flags='{"inserts": false, "updates": true}', id=execution_id)
    assert (await statuses(client))[2] == "anomalous"

    write(engine, flag, flags='{"inserts": false, "updates": false}', id=execution_id)
    assert (await statuses(client))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_a_stale_state_lasts_until_the_next_write(client: httpx.AsyncClient, engine: Engine) -> None:
    log_stale(engine)
    assert (await statuses(client))[2] == "stale"

    await run(client, 1, LONG_AGO, inserts=5)
    assert (await statuses(client))[2] == "ok"

    log_stale(engine)
    await run(client, 1, NOW, inserts=0)
    assert (await statuses(client))[2] == "stale"

    await client.patch("/pipeline", json={"id": 1, "mute_freshness_check": True})
    assert (await statuses(client))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_a_missed_run_lasts_until_the_next_one(client: httpx.AsyncClient, engine: Engine) -> None:
    await run(client, 1, LONG_AGO)
    write(engine, "UPDATE pipeline SET schedule = '0 6 * * *', last_missed_run = :at WHERE id = 1", at=NOW)
    assert (await statuses(client))[2] == "missed"

    await run(client, 1, NOW + timedelta(minutes=30))
    assert (await statuses(client))[2] == "ok"


@pytest.mark.usefixtures("written")
async def test_an_address_does_as_the_worst_of_its_active_pipelines(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_edges(engine, [(1, 2)], 2)
    await run(client, 1, NOW)
    await run(client, 2, NOW, success=False)
    assert (await statuses(client))[2] == "failed"

    await client.patch("/pipeline", json={"id": 2, "active": False})
    assert (await statuses(client))[2] == "ok"


def test_the_worst_comes_first() -> None:
    assert worst([Status.OK, Status.STALE, Status.UNKNOWN]) is Status.STALE
    assert worst([Status.UNKNOWN, Status.OK]) is Status.OK
    assert worst([]) is Status.UNKNOWN
