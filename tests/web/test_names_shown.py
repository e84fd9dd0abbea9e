"""Pages and messages call pipelines and addresses as people first wrote them."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.support.factories import end, make_pipeline, start
from watcher_server.celery_tasks import judge_failure_task

HTML = {"Accept": "text/html"}
KIND = {"address_type_name": "postgres", "address_type_group_name": "database"}


async def _make(client: httpx.AsyncClient) -> int:
    pipeline = await make_pipeline(client, "Orders Daily")
    body = {
        "pipeline_id": pipeline,
        "source_addresses": [{**KIND, "name": "Shop.Public.Orders"}],
        "target_addresses": [{**KIND, "name": "Mart.Revenue"}],
    }
    assert (await client.post("/address_lineage", json=body)).status_code == 201
    now = datetime.now(UTC)
    run = await start(client, pipeline, now - timedelta(minutes=2))
    await end(client, run, now, success=False)
    return run


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("/ui/pipelines", "Orders Daily"),
        ("/ui/pipelines/1", "Orders Daily"),
        ("/ui/pipelines/1?tab=lineage", "Mart.Revenue"),
        ("/ui/pipelines/1/edit", "Orders Daily"),
        ("/ui/executions/1", "Orders Daily"),
        ("/ui/incidents", "Orders Daily"),
        ("/ui/tasks", "Orders Daily"),
        ("/ui", "Orders Daily"),
        ("/reporting?days=30", "Orders Daily"),
        ("/lineage-graph?source_address_id=1", "Shop.Public.Orders"),
        ("/lineage-graph?source_address_id=1", "Mart.Revenue"),
        ("/lineage-graph?source_address_id=1", "Orders Daily"),
        ("/lineage-graph/search?q=mart", "Mart.Revenue"),
        ("/lineage-graph/details?source_address_id=1&selected=2", "Orders Daily"),
    ],
)
async def test_a_page_shows_the_spelling_that_was_sent_first(client: httpx.AsyncClient, page: str, shown: str) -> None:
    run = await _make(client)
    judge_failure_task(pipeline_id=1, pipeline_execution_id=run)
    await make_pipeline(client, "ORDERS DAILY")

    answer = await client.get(page, headers=HTML)

    assert answer.status_code == 200, answer.text
    assert shown in answer.text
    assert shown.upper() not in answer.text


async def test_answers_of_the_api_keep_the_lower_case(client: httpx.AsyncClient) -> None:
    await _make(client)

    graph = (await client.get("/lineage-graph/", params={"source_address_id": 1})).json()
    assert {node["name"] for node in graph["nodes"]} == {"shop.public.orders", "mart.revenue"}
    assert graph["edges"][0]["pipeline_name"] == "orders daily"
    assert (await client.get("/pipeline/1")).json()["name"] == "orders daily"


async def test_a_message_shows_it_too(client: httpx.AsyncClient) -> None:
    run = await _make(client)
    judge_failure_task(pipeline_id=1, pipeline_execution_id=run)

    alerts = (await client.get("/ui/alerts", headers=HTML)).text
    assert "Pipeline &#39;Orders Daily&#39; (ID: 1) failed" in alerts
