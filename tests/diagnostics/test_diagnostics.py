"""The diagnostics page."""

import httpx

from tests.conftest import MakeClient


async def test_the_page_shows_database_broker_queues_and_tables(client: httpx.AsyncClient) -> None:
    answer = await client.get("/diagnostics")
    assert answer.status_code == 200
    for text in ("PostgreSQL", "answers", "<code>celery</code>", "outbox", "pipeline_execution_closure", "MiB"):
        assert text in answer.text


async def test_without_a_broker_the_page_says_so(make_client: MakeClient) -> None:
    async with make_client(broker_url="redis://127.0.0.1:1/0") as client:
        answer = await client.get("/diagnostics")
    assert answer.status_code == 200
    assert "The broker does not answer: start it, or correct WATCHER_BROKER_URL." in answer.text
    assert "PostgreSQL" in answer.text
