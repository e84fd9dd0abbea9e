"""Retired pipelines and addresses leave everything, come back as they were, and come back when they report again."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.lineage.test_load import load
from tests.support.checks import run_checks
from tests.support.factories import make_pipeline, start
from tests.support.rows import add_history, add_rule, add_run, ago, change_pipeline
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.celery_tasks import (
    address_lineage_closure_rebuild_task,
    revive_task,
    sweep_incidents_task,
)

HTML = {"Accept": "text/html"}
TASKS = {
    "revive_task": revive_task,
    "address_lineage_closure_rebuild_task": address_lineage_closure_rebuild_task,
    "sweep_incidents_task": sweep_incidents_task,
}


def run_tasks(engine: Engine) -> None:
    """Run what the requests called for, and what that called for."""
    while True:
        with engine.begin() as connection:
            statement = "DELETE FROM outbox WHERE task_name = ANY(:names) RETURNING task_name, kwargs"
            found = connection.execute(text(statement), {"names": list(TASKS)}).all()
        if not found:
            return
        for name, kwargs in found:
            TASKS[name](**kwargs)


async def _incidents(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    return [(each["kind"], each["state"]) for each in (await client.get("/incident")).json()]


async def _reached(client: httpx.AsyncClient, address_id: int) -> list[str]:
    reach = (await client.get(f"/address/{address_id}/downstream")).json()
    return [address["name"] for address in reach["addresses"]]


async def test_a_retired_pipeline_is_nowhere_and_nothing_is_wrong_with_it(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    gone = await make_pipeline(client, "gone", freshness_number=1, freshness_datepart="hour", schedule="0 0 1 1 *")
    await load(client, gone, ["a"], ["b"])
    with engine.begin() as connection:
        change_pipeline(connection, gone, created_at=ago(days=2), pipeline_metadata={"tags": ["nightly"]})
        add_run(connection, gone, completed_successfully=False)
    run_checks(engine)
    run_tasks(engine)
    assert {state for _, state in await _incidents(client)} == {"open"}

    answer = await client.delete(f"/pipeline/{gone}")
    run_tasks(engine)
    run_checks(engine)

    assert (answer.status_code, answer.json()["archived_at"] is None, answer.json()["active"]) == (200, False, True)
    assert (await client.get("/pipeline")).json() == []
    assert [each["id"] for each in (await client.get("/pipeline", params={"archived": True})).json()] == [gone]
    assert {state for _, state in await _incidents(client)} == {"resolved"}
    assert (await client.get("/reporting/pipeline-names")).json() == []
    assert (await client.get("/reporting/daily-pipeline-metrics")).json()["data"] == []
    assert 'watcher_pipelines{status="unknown"} 0.0' in (await client.get("/metrics")).text
    assert 'watcher_pipelines{status="paused"} 0.0' in (await client.get("/metrics")).text
    assert (await client.get("/lineage-graph/", params={"source_address_id": 1})).json()["edges"] == []
    assert await _reached(client, 1) == []
    for page in ("/ui", "/ui/pipelines", "/reporting", "/ui/anomalies"):
        shown = (await client.get(page, headers=HTML)).text
        assert ">gone<" not in shown
        assert "nightly" not in shown
    assert (await client.get(f"/pipeline/{gone}")).json()["expected_next_run"] is None


async def test_what_is_restored_is_as_it_was(client: httpx.AsyncClient, engine: Engine) -> None:
    paused = await make_pipeline(client, "paused")
    planned = await make_pipeline(client, "planned", schedule="0 0 1 1 *")
    await load(client, planned, ["a"], ["b"])
    await client.patch("/pipeline", json={"id": paused, "active": False})
    before = (await client.get("/pipeline")).json()
    for pipeline in (paused, planned):
        assert (await client.delete(f"/pipeline/{pipeline}")).status_code == 200
    run_tasks(engine)

    for pipeline in (paused, planned):
        assert (await client.post(f"/pipeline/{pipeline}/restore")).json()["archived_at"] is None
    run_tasks(engine)

    assert (await client.get("/pipeline")).json() == before
    assert len((await client.get("/lineage-graph/", params={"source_address_id": 1})).json()["edges"]) == 1
    assert await _reached(client, 1) == ["b"]
    assert (await client.post(f"/pipeline/{paused}/restore")).status_code == 200


async def test_an_archived_address_takes_its_edges_with_it_and_brings_them_back(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    await make_pipeline(client)
    await load(client, 1, ["a"], ["b", "c"])

    await client.delete("/address/2")
    run_tasks(engine)

    assert [each["name"] for each in (await client.get("/address")).json()] == ["a", "c"]
    assert [each["name"] for each in (await client.get("/address", params={"archived": True})).json()] == ["b"]
    assert [each["name"] for each in (await client.get("/lineage-graph/addresses")).json()] == ["a", "c"]
    assert await _reached(client, 1) == ["c"]

    # Of two ends that are gone, both have to come back.
    await client.delete("/pipeline/1")
    await client.post("/address/2/restore")
    run_tasks(engine)
    assert await _reached(client, 1) == []
    await client.post("/pipeline/1/restore")
    run_tasks(engine)
    assert await _reached(client, 1) == ["b", "c"]


Report = Callable[[httpx.AsyncClient], Awaitable[Any]]


async def _post(client: httpx.AsyncClient) -> None:
    assert (await client.post("/pipeline", json={"name": "orders", "pipeline_type_name": "extraction"})).is_success


async def _start(client: httpx.AsyncClient) -> None:
    await start(client, 1, datetime.now(UTC))


async def _start_in_the_past(client: httpx.AsyncClient) -> None:
    await start(client, 1, datetime.now(UTC) - timedelta(days=9))


async def _ping(client: httpx.AsyncClient) -> None:
    url = (await client.get("/pipeline/1")).json()["ping_url"]
    assert (await client.get(url.partition("/ping/")[1] + url.partition("/ping/")[2])).text == "OK"


async def _ping_by_slug(client: httpx.AsyncClient) -> None:
    key = (await client.post("/ping_key", json={"name": "key"})).json()["key"]
    assert (await client.get(f"/ping/{key}/orders?create=1")).text == "OK"


async def _ask_for_url(client: httpx.AsyncClient) -> None:
    assert (await client.post("/ping_url", json={"name": "Orders"})).status_code == 200


async def _load(client: httpx.AsyncClient) -> None:
    assert (await load(client, 1, ["a"], ["b"])).status_code == 201


@pytest.mark.parametrize("report", [_post, _start, _start_in_the_past, _ping, _ping_by_slug, _ask_for_url, _load])
async def test_a_report_brings_its_pipeline_back(client: httpx.AsyncClient, engine: Engine, report: Report) -> None:
    await make_pipeline(client, schedule="0 0 1 1 *")
    await load(client, 1, ["a"], ["b"])
    before = (await client.get("/pipeline")).json()
    await client.delete("/pipeline/1")
    run_tasks(engine)

    await report(client)
    run_tasks(engine)

    (after,) = (await client.get("/pipeline")).json()
    kept = ("id", "name", "schedule", "expected_next_run", "active", "archived_at", "fail_after")
    assert [after[field] for field in kept] == [before[0][field] for field in kept]
    assert len((await client.get("/lineage-graph/", params={"source_address_id": 1})).json()["edges"]) == 1
    assert await _reached(client, 1) == ["b"]


async def test_lineage_that_names_an_address_brings_it_back(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client, "first")
    await make_pipeline(client, "second")
    await load(client, 1, ["a"], ["b"])
    await client.delete("/address/1")
    run_tasks(engine)

    await load(client, 2, ["a"], ["c"])
    run_tasks(engine)

    assert {each["name"] for each in (await client.get("/address")).json()} == {"a", "b", "c"}
    assert await _reached(client, 1) == ["b", "c"]


async def test_lineage_replaces_what_had_left_too(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)
    await load(client, 1, ["a"], ["b"])
    await client.delete("/address/2")

    await load(client, 1, ["a"], ["c"])
    await client.post("/address/2/restore")
    run_tasks(engine)

    assert await _reached(client, 1) == ["c"]


async def test_an_end_alone_brings_nothing_back(client: httpx.AsyncClient) -> None:
    await make_pipeline(client)
    run = await start(client, 1, datetime.now(UTC) - timedelta(minutes=1))
    await client.delete("/pipeline/1")

    ended = await client.post("/end_pipeline_execution", json={"id": run, "completed_successfully": True})

    assert ended.status_code == 204
    assert (await client.get("/pipeline")).json() == []


@pytest.mark.parametrize("archived", [False, True])
async def test_a_run_of_an_archived_pipeline_is_not_judged(
    client: httpx.AsyncClient, engine: Engine, *, archived: bool
) -> None:
    await make_pipeline(client)
    with engine.begin() as connection:
        add_rule(connection, 1)
        add_history(connection, 1, range(1_000, 1_010))
        outlier = add_run(connection, 1, total_rows=10, end_date=ago(minutes=1))
    if archived:
        await client.delete("/pipeline/1")

    with engine.begin() as connection:
        found = detect_anomalies(connection, 1, outlier, alert_max_age_hours=24)

    assert bool(found) is not archived
    assert [kind for kind, _ in await _incidents(client)] == ([] if archived else ["anomalous"])


@pytest.mark.parametrize("path", ["/pipeline/9", "/address/9"])
async def test_what_is_not_there_cannot_be_retired(client: httpx.AsyncClient, path: str) -> None:
    answers = [
        await client.delete(path),
        await client.delete(path, params={"forget": True}),
        await client.post(f"{path}/restore"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 3
