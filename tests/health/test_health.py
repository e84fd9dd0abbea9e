"""Is it there, is it alive, does it work."""

import asyncio
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from watcher_server import __version__


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


async def test_the_root_says_what_answers_and_where_to_go(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/")).json()
    assert (answer["name"], answer["version"]) == ("Watcher", __version__)
    for link in answer["links"].values():
        assert (await client.get(link)).status_code == 200


async def test_a_whole_watcher_is_alive_and_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "ok"}
    answer = await client.get("/health/ready")
    fine = {"ok": True, "reason": None}
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "detail": None,
        "checks": {"database": fine, "migrations": fine, "broker": fine},
    }


async def test_without_a_broker_it_is_not_ready_and_says_why(make_client: MakeClient) -> None:
    async with make_client(broker_url="redis://127.0.0.1:1/0") as client:
        answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The broker cannot be reached: start it, or correct WATCHER_BROKER_URL."
    assert answer.json()["checks"]["database"]["ok"] is True


async def test_without_a_database_it_is_not_ready_and_says_why(make_client: MakeClient) -> None:
    async with make_client(database_url="postgresql://nobody@127.0.0.1:1/none") as client:
        answer = await client.get("/health/ready")
        assert (await client.get("/health/live")).status_code == 200
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("The database cannot be reached")
    assert answer.json()["checks"]["broker"]["ok"] is True
    assert "nobody" not in answer.text


async def test_services_that_hang_are_not_waited_for(make_client: MakeClient, silent_port: int) -> None:
    urls = {
        "database_url": f"postgresql://nobody@127.0.0.1:{silent_port}/none",
        "broker_url": f"redis://127.0.0.1:{silent_port}/0",
    }
    async with make_client(**urls) as client:
        began = time.monotonic()
        answer = await asyncio.wait_for(client.get("/health/ready"), 10)
        took = time.monotonic() - began
    assert answer.status_code == 503
    assert "does not answer within 2 seconds" in answer.json()["checks"]["database"]["reason"]
    assert took < 4


async def test_missing_migrations_are_named(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        version = connection.scalar(text("SELECT version_num FROM watcher_alembic_version"))
        connection.execute(text("UPDATE watcher_alembic_version SET version_num = '0000'"))
    try:
        answer = await client.get("/health/ready")
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE watcher_alembic_version SET version_num = :version"), {"version": version})
    assert answer.status_code == 503
    assert "is at revision 0000" in answer.json()["detail"]
    assert "watcher migrate" in answer.json()["detail"]


async def test_the_api_references_are_served(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/scalar"):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert "/openapi.json" in answer.text
