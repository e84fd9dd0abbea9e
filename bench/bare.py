"""The limits on the server's side: an empty handler, and a bare handler with the same statements.

Neither checks anything: no validation, no routing, no authentication, no outbox relay. The bare handler has psycopg's
own pool, as anyone would write it, and not the one that Watcher has for its requests.
"""

import json
import os
from datetime import datetime
from typing import Any

from psycopg_pool import AsyncConnectionPool

from watcher_server.database.engine import create_ingest_pool
from watcher_server.executions.statements import END_STATEMENT, START_STATEMENT
from watcher_server.pings.statements import STATEMENTS
from watcher_server.settings import get_settings

NOTHING = dict.fromkeys(("parent_id", "watermark", "next_watermark", "soft_deletes", "execution_metadata", "context"))
NOTHING |= {"backfill": False, "nothing_to_do": False}
PINGED = {**NOTHING, **dict.fromkeys(("rid", "start_date", "end_date", "inserts", "updates", "total_rows", "output"))}


async def _read(receive: Any) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())] if body else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Any, send: Any, pool: Any) -> None:
    await receive()
    if pool is not None:
        await pool.open()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if pool is not None:
        await pool.close()
    await send({"type": "lifespan.shutdown.complete"})


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """Answers what a client expects, and does nothing."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send, None)
        return
    await _read(receive)
    if scope["path"] == "/start_pipeline_execution":
        await _answer(send, 201, b'{"id":1}')
    else:
        await _answer(send, 204, b"")


class Bare:
    """Runs the product's own statements and nothing else, on a pool of psycopg's with the same connections."""

    def __init__(self) -> None:
        made = create_ingest_pool(get_settings())
        self._pool = AsyncConnectionPool(
            kwargs=made.kwargs,
            min_size=made.min_size,
            max_size=made.max_size,
            configure=made._configure,  # noqa: SLF001 - the sessions are to be planned alike
            open=False,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, self._pool)
            return
        body = {**NOTHING, **json.loads(await _read(receive))}
        starts = scope["path"] == "/start_pipeline_execution"
        moment = "start_date" if starts else "end_date"
        sent = body.get(moment)
        body[moment] = None if sent is None else datetime.fromisoformat(sent)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(START_STATEMENT if starts else END_STATEMENT, body)
            row = await cursor.fetchone() or (0,)
        if starts:
            await _answer(send, 201, b'{"id":%d}' % row[0])
        else:
            await _answer(send, 204, b"")


class BarePings(Bare):
    """Runs the statement of a ping and nothing else; it takes the end of a URL for an exit status."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, self._pool)
            return
        await _read(receive)
        _, _, uuid, *signal = scope["path"].split("/")
        report = "start" if signal == ["start"] else "end"
        body = {**PINGED, "uuid": uuid, "completed_successfully": True}
        async with self._pool.connection() as connection:
            await STATEMENTS["uuid", report].fetch_one(connection, body)
        await _answer(send, 200, b"OK")


bare = Bare() if os.environ.get("WATCHER_DATABASE_URL") else None
bare_pings = BarePings() if os.environ.get("WATCHER_DATABASE_URL") else None
