"""The limit on every body, and the short way to the routes that are answered without the framework."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watcher_server.http.errors import answer_error
from watcher_server.http.ingest_route import IngestHandler, IngestRoutes, replay

_DISCARD_BYTES = 64 * 1024 * 1024
_DISCARD_SECONDS = 2
_UNCOUNTED_BYTES = 64 * 1024


class BodyLimit(NamedTuple):
    """The most bytes of a body, and the setting that raises it."""

    most_bytes: int
    setting: str | None = None


class BodyMiddleware:
    """Reads each body once, up to a limit, and answers the ingest routes at once.

    What FastAPI adds to a request (its middleware, routing and dependencies) costs as much as a start or an end itself
    (``make bench``), so what pipelines ask for with each run is answered here. Everything else goes on to the
    application.

    ``path_limits`` has the paths with another limit than ``max_body_bytes``. Bodies that have begun to arrive may take
    eight times ``max_body_bytes`` of memory together, or as much as the largest one may have; bodies up to 64 KiB do
    not count, so that starts and ends are never refused for the sake of others.
    """

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, path_limits: Mapping[str, BodyLimit], routes: IngestRoutes
    ) -> None:
        self._app = app
        self._limit = BodyLimit(max_body_bytes, "WATCHER_MAX_BODY_BYTES")
        self._path_limits = path_limits
        self._most_held = max([8 * max_body_bytes, *(limit.most_bytes for limit in path_limits.values())])
        self._held = 0
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to an ingest route, refuse a body that is too large, hand on the rest."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _, handler = self._routes.find(scope) or (None, None)
        if scope["method"] != "POST" and not _announces_body(scope):
            await self._pass(handler, b"", scope, receive, send)
            return
        limit = self._path_limits.get(scope["path"], self._limit)
        try:
            body = await self._read_body(scope, receive, limit)
        except _RefusedError as refused:
            # A client with Expect: 100-continue sends nothing yet, and reading would ask for the body.
            if not (_waits_to_be_asked(scope) and _declared_length(scope) > limit.most_bytes):
                await _discard(receive)
            await refused.answer(scope, receive, send)
            return
        except ClientDisconnect:
            return
        await self._pass(handler, body, scope, receive if handler else replay(body, receive), send)

    async def _pass(
        self, handler: IngestHandler | None, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if handler is None:
            await self._app(scope, receive, send)
            return
        response = await _answer(handler, body, Request(scope, receive))
        await response(scope, receive, send)

    async def _read_body(self, scope: Scope, receive: Receive, limit: BodyLimit) -> bytes:
        """The whole body.

        Raises:
            _RefusedError: it is, or says that it will be, longer than the limit, or the bodies that arrive at the same
                time take too much memory together.
            ClientDisconnect: its end never came, and half a request must change nothing.
        """
        if _declared_length(scope) > limit.most_bytes:
            raise _too_large(limit)
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            # Nearly every body comes in one piece.
            whole: bytes = message.get("body", b"")
            if len(whole) > limit.most_bytes:
                raise _too_large(limit)
            return whole
        return await self._read_parts(message, receive, limit)

    async def _read_parts(self, message: Message, receive: Receive, limit: BodyLimit) -> bytes:
        body, counted, more = bytearray(), 0, True
        try:
            while more:
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limit.most_bytes:
                    raise _too_large(limit)
                if more and len(body) > _UNCOUNTED_BYTES:
                    self._held += len(body) - counted
                    counted = len(body)
                    if self._held > self._most_held:
                        detail = "Too many large bodies arrive at the same time; try again in a moment."
                        raise _RefusedError(503, detail, {"Retry-After": "5"})
                if more:
                    message = await receive()
        finally:
            self._held -= counted
        return bytes(body)


class _RefusedError(Exception):
    """A body that is not taken. What is left of it is not read, so the connection cannot be used again."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.answer = JSONResponse({"detail": detail}, status_code=status, headers={"Connection": "close", **headers})


def _too_large(limit: BodyLimit) -> _RefusedError:
    advice = f", or raise {limit.setting}" if limit.setting else ""
    return _RefusedError(413, f"The body is larger than {limit.most_bytes} bytes: send less at once{advice}.", {})


def _announces_body(scope: Scope) -> bool:
    return any(name in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"])


def _waits_to_be_asked(scope: Scope) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"])


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _answer(handler: IngestHandler, body: bytes, request: Request) -> Response:
    try:
        return await handler(body, request)
    except HTTPException as error:
        return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)
    except Exception as error:
        answer = answer_error(error)
        if answer is None:
            raise
        return answer


async def _discard(receive: Receive) -> None:
    """Read and drop the rest of the body, within bounds: many clients read no answer before they have sent all."""
    taken = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            more = True
            while more and taken < _DISCARD_BYTES:
                message = await receive()
                taken += len(message.get("body", b""))
                more = message.get("more_body", False)
