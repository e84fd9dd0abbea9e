"""The short way in for pings: no token, no framework, and no trace or log line of their URLs."""

from http import HTTPStatus
from typing import Any

from fastapi.responses import PlainTextResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from watcher_server.http.errors import answer_error
from watcher_server.kit.errors import NotFoundError
from watcher_server.pings import service
from watcher_server.pings.bodies import read_body, read_report
from watcher_server.pings.pace import TooFastError, Turns
from watcher_server.pings.schemas import PingReport
from watcher_server.pings.statements import OUTPUT_BYTES
from watcher_server.pings.urls import PingUrl, RefusedError, read_url

PREFIX = "/ping/"
_METHODS = ("GET", "HEAD", "POST")
_LIMIT = {"Ping-Body-Limit": str(OUTPUT_BYTES)}


class PingMiddleware:
    """Answers pings, and hands on everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns = Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a ping, with a line of text."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive)
        except ClientDisconnect:
            return
        if scope["method"] == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] not in _METHODS:
            return _text(405, "method not allowed", {"Allow": ", ".join(_METHODS)})
        try:
            url = read_url(scope["path"], scope["query_string"])
            self._turns.check(url.address)
            report = read_report(await read_body(receive), _content_type(scope))
            return await self._record(scope["app"].state, url, report)
        except RefusedError as refused:
            return _text(refused.status, str(refused))
        except NotFoundError:
            return _text(404, "not found")
        except TooFastError as error:
            return _text(429, str(error), {"Retry-After": str(error.seconds)})
        except ClientDisconnect:
            raise
        except Exception as error:
            answer = answer_error(error)
            if answer is None:
                raise
            return _database_text(answer)

    async def _record(self, state: Any, url: PingUrl, report: PingReport) -> Response:
        status = HTTPStatus.OK
        async with self._turns.take(url.address):
            # Those that waited for their turn learn here what the one before was told.
            self._turns.check(url.address)
            recorded = await self._write(state, url, report)
            if recorded.pipelines == 0 and url.create:
                async with AsyncSession(state.query_engine) as session, session.begin():
                    created = await service.create_by_slug(session, url.key or "", url.slug or "", state.settings)
                status = HTTPStatus.CREATED if created else status
                recorded = await self._write(state, url, report)
        if recorded.pipelines == 0:
            return _text(404, "not found")
        if recorded.pipelines > 1:
            return _text(409, "ambiguous slug")
        if url.report != "log":
            state.relay.wake()
        known = {} if recorded.execution_id is None else {"Watcher-Execution-Id": str(recorded.execution_id)}
        return _text(status, "Created" if status is HTTPStatus.CREATED else "OK", known)

    async def _write(self, state: Any, url: PingUrl, report: PingReport) -> service.Recorded:
        try:
            async with state.ingest_pool.connection() as connection:
                return await service.record_ping(connection, url, report)
        except TooFastError as error:
            self._turns.close(url.address, error.seconds)
            raise


def _content_type(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"content-type":
            decoded: str = value.decode("latin-1")
            return decoded
    return ""


def _text(status: int, line: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(line, status, {**_LIMIT, **(headers or {})})


def _database_text(answer: Response) -> Response:
    """The line for an error of the database: what it cannot store is the caller's, what fails is to be tried again."""
    if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        return _text(503, "the database is not available", {"Retry-After": "1"})
    return _text(400, "a value cannot be stored")
