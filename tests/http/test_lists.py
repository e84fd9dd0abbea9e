"""Long lists go out a part at a time."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text

from watcher_server.database.parts import PART


@pytest.fixture(name="app")
def served_app(_shared_app: FastAPI) -> FastAPI:
    """The application that the client asks."""
    return _shared_app


async def pieces_of(app: FastAPI, path: str, query: str = "") -> list[bytes]:
    """The pieces in which the application sends its answer, as its server gets them."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        # The client stays.
        return await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    here = ("127.0.0.1", 80)
    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": ""}
    scope |= {"path": path, "query_string": query.encode(), "headers": [(b"host", b"localhost")]}
    scope |= {"client": here, "server": here}
    await app({**scope, "raw_path": path.encode()}, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 200
    return [message["body"] for message in sent[1:] if message.get("body")]


def add_pipelines(engine: Engine, number: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO pipeline_type (name) VALUES ('many')"))
        connection.execute(
            text("""
                INSERT INTO pipeline (name, pipeline_type_id, pipeline_metadata)
                SELECT 'pipeline ' || n, 1, jsonb_build_object('text', repeat('x', 5000))
                FROM generate_series(1, :number) AS n
            """),
            {"number": number},
        )


async def test_no_piece_of_a_list_holds_more_than_a_part_and_all_rows_come_once(
    client: httpx.AsyncClient, engine: Engine, app: FastAPI
) -> None:
    assert client
    add_pipelines(engine, 2 * PART + 5)

    pieces = await pieces_of(app, "/pipeline")

    assert max(piece.count(b'"pipeline_type_id":') for piece in pieces) == PART
    listed = json.loads(b"".join(pieces))
    assert [one["id"] for one in listed] == list(range(1, 2 * PART + 6))
    # Eight megabytes of metadata in all, not in each part.
    whole = [one["id"] for one in listed if "text" in one["pipeline_metadata"]]
    assert whole == list(range(1, len(whole) + 1))
    assert PART < len(whole) < 2 * PART
    assert listed[-1]["pipeline_metadata"]["truncated"] is True


async def test_a_page_may_begin_anywhere_and_end_in_the_middle_of_a_part(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    add_pipelines(engine, 2 * PART + 5)

    async def ids(**page: int) -> list[int]:
        return [one["id"] for one in (await client.get("/pipeline", params=page)).json()]

    assert await ids(offset=3, limit=PART + 1) == list(range(4, PART + 5))
    assert await ids(offset=2 * PART + 3) == [2 * PART + 4, 2 * PART + 5]
    assert await ids(limit=PART) == list(range(1, PART + 1))
    assert await ids(limit=0) == await ids(offset=10 * PART) == []
