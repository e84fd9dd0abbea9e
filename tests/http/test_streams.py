"""Many event streams: few statements, and an end to how many there may be."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi import HTTPException, Request
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import MakeClient
from tests.support.logins import session_cookie
from tests.support.tasks import add_task, change_task
from watcher_server.auth.service import create_token, digest, read_token_book, revoke_token
from watcher_server.database.engine import create_query_engine
from watcher_server.http.streams import StreamSlots
from watcher_server.settings import load_settings
from watcher_server.tasking.history.events import TaskFollower


def _request(address: str, token_id: int | None = None, **headers: str) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": (address, 1), "watcher_caller_id": token_id})


@pytest.mark.parametrize(
    ("requests", "status"),
    [
        ([_request("192.0.2.1")] * 3, 429),
        ([_request(f"192.0.2.{n}", 7) for n in range(3)], 429),
        # Whatever else it shows: another kind of authorization is ignored, and a token can be written in several ways.
        ([_request(f"192.0.2.{n}", 7, authorization=f"Basic {n}") for n in range(3)], 429),
        ([_request("192.0.2.1", authorization=f"Basic {n}") for n in range(3)], 429),
        ([_request(f"192.0.2.{n}") for n in range(6)], 503),
    ],
)
def test_the_last_stream_is_one_too_many_until_another_ends(requests: list[Request], status: int) -> None:
    slots = StreamSlots(most=5, most_per_caller=2)
    *fitting, last = requests
    with ExitStack() as others:
        for request in fitting[1:]:
            others.enter_context(slots.take(request))
        with slots.take(fitting[0]), pytest.raises(HTTPException) as refusal, slots.take(last):
            pass
        with slots.take(last):
            assert refusal.value.status_code == status


async def test_a_token_is_one_caller_however_it_is_written(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "PROGRESS")
        token = create_token(connection, "streams", "read")
        token_id = read_token_book(connection)[digest(token)].id
    ways = [f"Bearer {token}", f"bearer   {token} ", "Basic YTpi"]
    async with make_client(max_streams_per_caller=1) as client:
        slots = client._transport.app.state.stream_slots  # type: ignore[attr-defined]  # noqa: SLF001
        with slots.take(_request("192.0.2.1", token_id)):
            headers = [{"Authorization": way, **session_cookie(engine, token)} for way in ways]
            answers = [await client.get(f"/tasks/{task_id}/events", headers=each) for each in headers]
    with engine.begin() as connection:
        revoke_token(connection, "streams")

    assert [answer.status_code for answer in answers] == [429] * 3


@pytest.mark.parametrize(("setting", "status"), [("max_streams", 503), ("max_streams_per_caller", 429)])
async def test_a_stream_too_many_is_told_when_to_ask_again(
    make_client: MakeClient, engine: Engine, setting: str, status: int
) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "PROGRESS")

    async with make_client(**{setting: 0}) as client:
        answer = await client.get(f"/tasks/{task_id}/events")

    assert (answer.status_code, answer.headers["retry-after"]) == (status, "30")


def _count_statements(engine: AsyncEngine) -> list[str]:
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    return statements


async def test_a_thousand_streams_ask_the_database_as_often_as_one(engine: Engine) -> None:
    with engine.begin() as connection:
        task_ids = [add_task(connection, "PROGRESS") for _ in range(10)]
    query_engine = create_query_engine(load_settings())
    follower = TaskFollower(query_engine, asyncio.Event())
    firsts = [await follower.read(task_id) for task_id in task_ids]
    streams = [follower.follow(firsts[number % 10]) for number in range(1000)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    ends = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(1)
    statements = _count_statements(query_engine)
    await asyncio.sleep(2)
    asked = len(statements)
    with engine.begin() as connection:
        for task_id in task_ids:
            change_task(connection, task_id, state="SUCCESS", meta=None)
    states = {task.state for task in await asyncio.gather(*ends)}
    await asyncio.gather(*(stream.aclose() for stream in streams))
    await follower.close()
    await query_engine.dispose()

    assert 1 <= asked <= 6
    assert states == {"SUCCESS"}
