"""The api's HTTP server around a small application, in a thread of the test's process."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.support.live import free_port, wait_until
from watcher_server.cli.protocol import PlainHttpProtocol

MUCH = 20 * 1024 * 1024


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was received; ``/early`` before the body comes.

    ``/stream`` answers until the client leaves, and ``/much`` with 20 MiB at once.
    """
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["stopping"] = asyncio.Event()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    answer = {"method": scope["method"], "path": scope["path"], "headers": headers, "body": body.decode("latin-1")}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/much":
        await send({"type": "http.response.body", "body": b"x" * MUCH, "more_body": True})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b"begins", "more_body": True})
        await receive()
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


@contextmanager
def serve_echo(**options: Any) -> Iterator[str]:
    """The address of a server that echoes."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            echo, port=port, http=PlainHttpProtocol, ws="none", loop="uvloop", log_config=None, access_log=False,
            **options,
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "the start of the server")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
