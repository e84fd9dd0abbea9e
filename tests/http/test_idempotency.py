"""Requests that are sent again by their key."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.factories import make_pipeline
from tests.support.rows import add_pipeline
from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import create_token
from watcher_server.incidents.duties import keeper_duties
from watcher_server.settings import get_settings

KEY = {"Idempotency-Key": "load 2026-03-01"}
ALREADY = "This key was sent within a day with another request"


def _count(engine: Engine, table: str = "pipeline_execution") -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


async def _start(client: httpx.AsyncClient, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return await client.post("/start_pipeline_execution", json={"pipeline_id": 1, **fields}, headers=headers or {})


@pytest.mark.parametrize("date", [{}, {"start_date": "2026-03-01T00:00:00Z"}])
async def test_a_start_that_is_sent_again_starts_nothing_and_is_answered_as_at_first(
    client: httpx.AsyncClient, engine: Engine, date: dict[str, str]
) -> None:
    await make_pipeline(client)

    first, second = [await _start(client, KEY, **date) for _ in range(2)]

    assert (first.status_code, first.content) == (second.status_code, second.content) == (201, b'{"id":1}')
    assert second.headers["content-type"] == "application/json"
    assert _count(engine) == 1


async def test_the_key_may_stand_in_the_body(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)

    answers = [await _start(client, idempotency_key="k") for _ in range(2)]

    assert [answer.json() for answer in answers] == [{"id": 1}, {"id": 1}]
    assert (await _start(client, {"Idempotency-Key": "k"})).json() == {"id": 1}
    assert _count(engine) == 1


async def test_another_key_or_none_starts_another_run(client: httpx.AsyncClient) -> None:
    await make_pipeline(client)

    answers = [await _start(client, headers) for headers in (KEY, {"Idempotency-Key": "other"}, {}, {})]

    assert [answer.json()["id"] for answer in answers] == [1, 2, 3, 4]


async def test_the_same_key_with_another_body_is_refused(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)
    await _start(client, KEY)

    answer = await _start(client, KEY, watermark="2")

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"].startswith(ALREADY)
    assert _count(engine) == 1


async def test_a_start_that_was_refused_may_be_sent_again_when_it_can_be(client: httpx.AsyncClient) -> None:
    assert (await _start(client, KEY)).status_code == 404
    await make_pipeline(client)

    assert (await _start(client, KEY)).status_code == 201


async def test_of_many_starts_at_once_with_one_key_one_starts_a_run(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)

    answers = await asyncio.gather(*(_start(client, KEY) for _ in range(8)))

    assert {answer.content for answer in answers} == {answers[0].content}
    assert {answer.status_code for answer in answers} == {201}
    assert _count(engine) == 1


async def test_a_key_is_forgotten_after_a_day(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)
    await _start(client, KEY)
    with engine.begin() as connection:
        connection.execute(text("UPDATE idempotency_key SET created_at = now() - interval '25 hours'"))

    second, third = [(await _start(client, KEY)).json()["id"] for _ in range(2)]
    assert 1 < second == third


async def test_another_callers_key_is_another_key(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
        tokens = [create_token(connection, name, Scope.WRITE) for name in ("one", "two")]

    answers = [await _start(client, {**KEY, "Authorization": f"Bearer {token}"}) for token in (*tokens, *tokens)]

    assert [answer.json()["id"] for answer in answers] == [1, 2, 1, 2]


@pytest.mark.parametrize("key", ["", "x" * 201])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, engine: Engine, key: str) -> None:
    await make_pipeline(client)
    answers = [
        await _start(client, {"Idempotency-Key": key}),
        await _start(client, idempotency_key=key),
        await client.post("/pipeline_type", json={"name": "load", "idempotency_key": key}),
    ]

    assert [answer.status_code for answer in answers] == [422, 422, 422]
    assert _count(engine) == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/pipeline", {"name": "new", "pipeline_type_name": "load"}),
        ("/pipeline_type", {"name": "new"}),
        ("/address", {"name": "a.b.c", "address_type_name": "postgres", "address_type_group_name": "database"}),
        ("/address_type", {"name": "new", "group_name": "database"}),
        ("/anomaly_detection_rule", {"pipeline_id": 1, "metric_field": "inserts"}),
        ("/ping_url", {"name": "new"}),
        (
            "/address_lineage",
            {
                "pipeline_id": 1,
                "source_addresses": [
                    {"name": "a", "address_type_name": "postgres", "address_type_group_name": "database"}
                ],
                "target_addresses": [
                    {"name": "b", "address_type_name": "postgres", "address_type_group_name": "database"}
                ],
            },
        ),
    ],
)
async def test_whatever_is_created_by_a_key_is_answered_again_as_at_first(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    await make_pipeline(client)

    first, second = [await client.post(path, json=body, headers=KEY) for _ in range(2)]
    refused = await client.post(path, json={**body, "name": "different", "pipeline_id": 2}, headers=KEY)

    assert (first.status_code, second.status_code, second.content) == (201, 201, first.content)
    assert refused.status_code == 422
    assert ALREADY in refused.json()["detail"][0]["msg"]


async def test_a_comment_that_is_sent_again_stands_there_once(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO incident (kind, subject, level, since) VALUES ('task', 't', 'ERROR', now())")
        )

    for _ in range(2):
        answer = await client.post("/incident/1/comment", json={"text": "on it"}, headers=KEY)
        assert answer.status_code == 201

    assert _count(engine, "incident_event") == 1


async def test_many_at_once_with_one_key_create_one(client: httpx.AsyncClient) -> None:
    body = {"name": "new", "pipeline_type_name": "load"}

    answers = await asyncio.gather(*(client.post("/pipeline", json=body, headers=KEY) for _ in range(8)))

    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}


async def test_one_key_for_two_kinds_of_requests_is_refused(client: httpx.AsyncClient) -> None:
    await make_pipeline(client)
    await _start(client, KEY)

    answer = await client.post("/pipeline_type", json={"name": "load"}, headers=KEY)

    assert answer.status_code == 422


async def test_the_answer_that_shows_a_secret_once_is_not_kept(client: httpx.AsyncClient, engine: Engine) -> None:
    answers = [await client.post("/ping_key", json={"name": "cron"}, headers=KEY) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 409]
    assert _count(engine, "idempotency_key") == 0


async def test_the_keeper_forgets_keys_that_are_older_than_a_day(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)
    for key in ("old", "young"):
        await _start(client, {"Idempotency-Key": key})
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE idempotency_key SET created_at = now() - interval '25 hours' WHERE key = 'old'")
        )

    (duty,) = [duty for duty in keeper_duties(get_settings()) if duty.name == "forget the keys of old requests"]
    duty.do(engine)

    assert _count(engine, "idempotency_key") == 1
