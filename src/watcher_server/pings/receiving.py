"""The short way in for pings: no token, no framework, and no trace or log line of their URLs."""

from http import HTTPStatus
from typing import Any

from fastapi.responses import PlainTextResponse, Response
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from watcher_server.http.body import is_json, parse_json
from watcher_server.http.errors import EXPECTED_ERRORS, answer_error
from watcher_server.kit.errors import NotFoundError
from watcher_server.pings import service
from watcher_server.pings.pace import TooFastError, Turns
from watcher_server.pings.schemas import PingReport
from watcher_server.pings.statements import OUTPUT_BYTES
from watcher_server.pings.urls import PingUrl, RefusedError, read_url

PREFIX = "/ping/"
_METHODS = ("GET", "HEAD", "POST")


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
            content_type = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
            return await self._record(scope["app"].state, url, read_report(await read_body(receive), content_type))
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
            # What the database cannot store is the caller's, what fails is to be tried again.
            is_away = answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
            away = _text(503, "the database is not available", {"Retry-After": "1"})
            return away if is_away else _text(400, "a value cannot be stored")

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


def _text(status: int, line: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(line, status, {"Ping-Body-Limit": str(OUTPUT_BYTES), **(headers or {})})


async def read_body(receive: Receive) -> bytes:
    """The first 100,000 bytes of the body; the rest is received and dropped, so that a long log costs no ping.

    Raises:
        ClientDisconnect: its end never came, and half a ping changes nothing.
    """
    kept, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        kept += message.get("body", b"")[: OUTPUT_BYTES - len(kept)]
        more = message.get("more_body", False)
    return bytes(kept)


def read_report(body: bytes, content_type: str) -> PingReport:
    """What the body says.

    It is a report where it is announced as JSON and has at least one of a report's fields; anything else is output:
    programs that know nothing of Watcher send JSON of their own.

    Raises:
        RefusedError: a field of a report has a value that it cannot have.
    """
    if not body:
        return PingReport()
    try:
        fields = parse_json(body) if is_json(content_type) else None
    except EXPECTED_ERRORS:
        fields = None
    if not isinstance(fields, dict) or not frozenset(PingReport.model_fields) & fields.keys():
        return PingReport.model_construct(output=_storable(body.decode("utf-8", "replace")))
    try:
        report = PingReport.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise RefusedError(400, f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None
    if report.output is not None:
        report.output = _storable(report.output)
    return report


def _storable(text: str) -> str:
    # PostgreSQL stores no NUL.
    return text.replace("\x00", "\ufffd")
