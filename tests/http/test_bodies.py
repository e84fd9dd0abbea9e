"""How much of bodies is read and held."""

import asyncio
from typing import Any

import httpx
import pytest

from watcher_server.http.ingest_route import IngestRoutes
from watcher_server.http.receiving import BodyMiddleware

KIB = 1024


async def test_a_login_is_refused_beyond_16_kib(client: httpx.AsyncClient) -> None:
    answers = [await client.post("/login", data={"token": "x" * size}) for size in (15 * KIB, 17 * KIB)]

    assert [answer.status_code for answer in answers] == [401, 413]
    assert "16384 bytes" in answers[1].json()["detail"]


class _Uploads:
    """Bodies that arrive at the same time, piece by piece."""

    def __init__(self, count: int) -> None:
        self.answered: dict[int, int] = {}
        self.pieces: list[asyncio.Queue[dict[str, Any]]] = [asyncio.Queue() for _ in range(count)]
        self._middleware = BodyMiddleware(self._app, max_body_bytes=200 * KIB, path_limits={}, routes=IngestRoutes(()))

    async def _app(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def serve(self, number: int) -> None:
        """Answer one of them."""

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.answered[number] = message["status"]

        scope = {"type": "http", "method": "POST", "path": "/x", "headers": []}
        await self._middleware(scope, self.pieces[number].get, send)  # type: ignore[arg-type]

    def give(self, number: int, size: int, *, more: bool) -> None:
        """A piece of one of the bodies."""
        self.pieces[number].put_nowait({"type": "http.request", "body": b"x" * size, "more_body": more})


async def test_half_bodies_are_held_up_to_a_bound_and_small_ones_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watcher_server.http.receiving._DISCARD_SECONDS", 0.01)
    uploads = _Uploads(20)
    running = [asyncio.create_task(uploads.serve(number)) for number in range(20)]
    for number in range(19):
        uploads.give(number, 100 * KIB, more=True)
    uploads.give(19, 10 * KIB, more=True)
    await asyncio.sleep(0.1)

    refused = dict(uploads.answered)
    for number in range(20):
        uploads.give(number, KIB, more=False)
    await asyncio.gather(*running)

    assert refused == dict.fromkeys(range(16, 19), 503)
    assert uploads.answered == {number: 503 if number in refused else 200 for number in range(20)}


async def test_what_was_held_is_free_again_after_a_client_left() -> None:
    uploads = _Uploads(60)
    for number in range(60):
        uploads.give(number, 150 * KIB, more=True)
        uploads.pieces[number].put_nowait({"type": "http.disconnect"})
        await uploads.serve(number)

    assert uploads.answered == {}
