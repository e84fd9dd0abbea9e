"""The headers that every answer carries."""

import httpx
import pytest
from fastapi import FastAPI

from watcher_server.http.request_id import RequestIdMiddleware


@pytest.mark.parametrize("path", ["/pipeline", "/nowhere", "/health/live", "/metrics", "/login", "/pipeline/x"])
async def test_every_answer_is_taken_as_what_it_says_and_not_kept(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers

    assert headers.get_list("x-content-type-options") == ["nosniff"]
    assert headers.get_list("cache-control") == ["no-store"]


async def test_the_answer_to_a_start_carries_them_too(client: httpx.AsyncClient) -> None:
    headers = (await client.post("/start_pipeline_execution", json={"pipeline_id": 1})).headers

    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


async def test_files_of_the_pages_may_be_kept(client: httpx.AsyncClient) -> None:
    headers = (await client.get("/static/watcher.css")).headers

    assert headers["cache-control"].startswith("public")


@pytest.mark.parametrize(("scheme", "told"), [("https", "max-age=31536000"), ("http", None)])
async def test_browsers_are_held_to_https_where_there_is_https(scheme: str, told: str | None) -> None:
    transport = httpx.ASGITransport(RequestIdMiddleware(FastAPI()))
    async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://watcher.test") as client:
        assert (await client.get("/")).headers.get("strict-transport-security") == told
