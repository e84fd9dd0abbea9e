"""The id of a request: in its answer, and in the tasks that it causes."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text
from starlette.requests import Request
from starlette.routing import Route

from tests.conftest import MakeClient
from tests.support.factories import end, make_pipeline, make_rule, start
from watcher_server.app import create_app
from watcher_server.settings import load_settings


def contexts(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT context FROM outbox ORDER BY id")))


def named(request_id: str) -> dict[str, str]:
    return {"X-Request-ID": request_id}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/health/live", None, 200),
        ("HEAD", "/health/live", None, 200),
        ("GET", "/pipeline/1", None, 404),
        ("DELETE", "/pipeline", None, 405),
        ("GET", "/nothing", None, 404),
        ("POST", "/pipeline", "{}", 422),
        ("POST", "/start_pipeline_execution", '{"pipeline_id": 1}', 404),
        ("POST", "/end_pipeline_execution", "no JSON", 422),
        ("POST", "/end_pipeline_execution", " " * (8 * 1024 * 1024 + 1), 413),
    ],
)
async def test_every_answer_carries_the_id_of_its_request(
    client: httpx.AsyncClient, method: str, path: str, body: str | None, status: int
) -> None:
    headers = {**named("nightly-run.42"), "Content-Type": "application/json"}
    answer = await client.request(method, path, content=body, headers=headers)
    unnamed = await client.request(method, path, content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.headers["x-request-id"]) == (status, "nightly-run.42")
    assert re.fullmatch("[0-9a-f]{32}", unnamed.headers["x-request-id"])


async def test_an_answer_to_a_stranger_carries_it_too(make_client: MakeClient) -> None:
    async with make_client(host="0.0.0.0") as client:  # noqa: S104 - what makes it ask for a token
        answer = await client.get("/pipeline", headers=named("who-am-i"))

    assert (answer.status_code, answer.headers["x-request-id"]) == (401, "who-am-i")


async def test_the_answer_to_a_bug_carries_it_too() -> None:
    async def fail(_: Request) -> None:
        raise RuntimeError

    app = create_app(load_settings(relay_enabled=False))
    app.router.routes.insert(0, Route("/health/live", fail))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/health/live", headers=named("unlucky"))

    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "unlucky")


@pytest.mark.parametrize("request_id", ["", "two words", "a" * 129, "line\tbreak", "naïve", 'quote"'])
async def test_an_id_that_does_not_belong_into_a_log_is_replaced(client: httpx.AsyncClient, request_id: str) -> None:
    answer = await client.get("/health/live", headers=[(b"x-request-id", request_id.encode("latin-1"))])

    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_the_longest_id_is_kept(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live", headers=named("Z" * 128))

    assert answer.headers["x-request-id"] == "Z" * 128


async def test_the_tasks_of_a_request_carry_its_id(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    await make_rule(client, pipeline_id)
    parent_id = await start(client, pipeline_id)
    for path, body, request_id in (
        ("/start_pipeline_execution", {"pipeline_id": pipeline_id, "parent_id": parent_id}, "starts"),
        ("/end_pipeline_execution", {"id": parent_id, "completed_successfully": True}, "ends"),
        ("/freshness", None, "checks"),
    ):
        answer = await client.post(path, json=body, headers=named(request_id))
        assert answer.is_success, answer.text

    assert contexts(engine) == [{"request_id": "starts"}, {"request_id": "ends"}, {"request_id": "checks"}]


async def test_requests_at_the_same_time_keep_their_ids_apart(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    await make_rule(client, pipeline_id)
    executions = [await start(client, pipeline_id) for _ in range(20)]
    answers = await asyncio.gather(*(end(client, execution_id) for execution_id in executions))

    given = {answer.headers["x-request-id"] for answer in answers}
    assert len(given) == len(executions)
    assert {context["request_id"] for context in contexts(engine)} == given
