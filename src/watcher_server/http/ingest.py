"""The short way in for the two requests that every run of every pipeline makes, and the limit on every body."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watcher_server.http.body import Handler, is_json, not_json
from watcher_server.http.errors import answer_error

IngestHandler = Callable[[bytes, Request], Awaitable[Response]]

_ANNOUNCING = frozenset({b"content-length", b"transfer-encoding"})
_DISCARD_BYTES = 64 * 1024 * 1024
_DISCARD_SECONDS = 2


class IngestRoute(APIRoute):
    """A route whose endpoint takes the parsed body and the request, and answers with a finished response.

    FastAPI's dependencies, parameters and response models are left out; it describes the route in the API's reference,
    and :class:`BodyMiddleware` calls its handler without going through the framework.
    """

    def ingest_handler(self) -> IngestHandler:
        """From the bytes of a body to the response."""
        endpoint = self.endpoint
        validate = TypeAdapter[Any](endpoint.__annotations__["body"]).validator.validate_json

        async def handle(raw: bytes, request: Request) -> Response:
            # As FastAPI does: a page of another site can post text to a loopback address, but not JSON.
            if not is_json(request.headers.get("content-type", "")):
                raise not_json("send it with Content-Type: application/json")
            try:
                body = validate(raw)
            except ValidationError as error:
                details = error.errors(include_url=False, include_context=False, include_input=False)
                raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in details]) from None
            response: Response = await endpoint(body, request)
            return response

        return handle

    def get_route_handler(self) -> Handler:
        handle = self.ingest_handler()

        async def handle_request(request: Request) -> Response:
            return await handle(await request.body(), request)

        return handle_request


class BodyMiddleware:
    """Reads each body once, up to a limit, and answers the ingest routes at once.

    What FastAPI adds to a request (its middleware, routing and dependencies) costs as much as a start or an end itself
    (``make bench``), so those two are answered here. Everything else goes on to the application.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._limit = max_body_bytes
        self._ingest = {route.path: route.ingest_handler() for route in routes if isinstance(route, IngestRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a start or an end, refuse a body that is too large, hand on the rest."""
        if scope["type"] != "http" or not (scope["method"] == "POST" or _announces_body(scope)):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read_body(scope, receive)
        except _TooLargeError:
            # Whoever waits to be asked sends nothing yet, and reading would ask for it.
            if not (_waits_to_be_asked(scope) and _declared_length(scope) > self._limit):
                await _discard(receive)
            await _too_large(self._limit)(scope, receive, send)
            return
        except ClientDisconnect:
            return
        handler = self._ingest.get(scope["path"]) if scope["method"] == "POST" else None
        if handler is None:
            await self._app(scope, _replay(body, receive), send)
            return
        response = await _answer(handler, body, Request(scope, receive))
        await response(scope, receive, send)

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            _TooLargeError: it is, or says that it will be, longer than the limit.
            ClientDisconnect: its end never came, and half a request must change nothing.
        """
        if _declared_length(scope) > self._limit:
            raise _TooLargeError
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit:
                raise _TooLargeError
        return body


class _TooLargeError(Exception):
    pass


def _announces_body(scope: Scope) -> bool:
    return any(name in _ANNOUNCING for name, _ in scope["headers"])


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
    except Exception as error:
        answer = answer_error(error)
        if answer is None:
            raise
        return answer


async def _discard(receive: Receive) -> None:
    """Take what the client is still sending, within bounds: many read no answer before they have sent everything."""
    taken = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            more = True
            while more and taken < _DISCARD_BYTES:
                message = await receive()
                taken += len(message.get("body", b""))
                more = message.get("more_body", False)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _too_large(limit: int) -> Response:
    detail = f"The body is larger than {limit} bytes: send less at once, or raise WATCHER_MAX_BODY_BYTES."
    # What is left of the body is not read, so the connection cannot be used again.
    return JSONResponse({"detail": detail}, status_code=413, headers={"Connection": "close"})
