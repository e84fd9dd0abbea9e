"""An id for every request, in its answer, in the log and in the tasks that it causes; and headers for every answer."""

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watcher_server.http.ingest_route import IngestRoutes
from watcher_server.http.under_path import UnderPathMiddleware
from watcher_server.telemetry.context import is_request_id, request_context

if TYPE_CHECKING:
    from watcher_server.telemetry.spans import Tracing

_HEADER = b"x-request-id"
# What each answer says unless its route says otherwise: nothing guesses its type, and nothing keeps it.
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_DEFAULTS = (_NOSNIFF, _NO_STORE)
_DEFAULT_NAMES = frozenset(name for name, _ in _DEFAULTS)
# Under https only: browsers then use nothing else for this host, for a year.
_HSTS = (b"strict-transport-security", b"max-age=31536000")
# Monitoring asks for these every few seconds.
_UNTRACED = frozenset({"/health/live", "/health/ready", "/metrics"})
# The URL of a ping is a secret, and a span names the URL.
_PINGS = "/ping/"

# From a request and its id to the trace that tasks and the answer name; None when the request is not traced.
FindTrace = Callable[[Scope, str], str | None]


class RequestIdMiddleware:
    """Names each request by the ``X-Request-ID`` that it carries, or by a new one, and adds that and security headers.

    An id that is not of 1 to 128 letters, digits, dots, underscores and hyphens is replaced, for it goes into the log.
    With ``find_trace``, the answer names the request's trace too, in ``traceparent``.
    """

    def __init__(self, app: ASGIApp, find_trace: FindTrace | None = None) -> None:
        # By this name FastAPI looks through the middleware.
        self.app = app
        self._find_trace = find_trace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on the request, in the context of its id."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or f"{random.getrandbits(128):032x}"
        context: dict[str, Any] = {"request_id": request_id}
        headers = [(_HEADER, request_id.encode())]
        if scope.get("scheme") == "https":
            headers.append(_HSTS)
        traceparent = self._find_trace(scope, request_id) if self._find_trace is not None else None
        if traceparent is not None:
            context["traceparent"] = traceparent
            headers.append((b"traceparent", traceparent.encode()))

        # Not a coroutine: it is called twice in every request.
        def send_named(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                message["headers"] = [*given, *headers, *_missing_defaults(given)]
            return send(message)

        token = request_context.set(context)
        await self.app(scope, receive, send_named)
        # Kept after an error, so that the log line of the error has the id.
        request_context.reset(token)


def _missing_defaults(given: Iterable[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    for name, _ in given:
        if name in _DEFAULT_NAMES:
            names = {name for name, _ in given}
            return [header for header in _DEFAULTS if header[0] not in names]
    return _DEFAULTS


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER:
            given: bytes = value
            return given.decode() if is_request_id(given) else None
    return None


class NamedRequestsApp(FastAPI):
    """FastAPI with the request's id in every answer: also in that to a bug, which is given outside all middleware.

    With ``tracing``, FastAPI makes a span of each request. It finds no route for those to ``ingest_routes``, which are
    answered before it looks for one. ``root`` is the path that the application has on its host.
    """

    def __init__(
        self, *, tracing: "Tracing | None", ingest_routes: IngestRoutes, root: str = "", **options: Any
    ) -> None:
        self._root = root
        self._find_trace = None if tracing is None else tracing.request_trace(ingest_routes.find_path)
        super().__init__(telemetry=_telemetry(tracing), servers=[{"url": root}] if root else None, **options)

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's own, within the request's id, and all of it without the path on the host."""
        stack = RequestIdMiddleware(super().build_middleware_stack(), self._find_trace)
        return UnderPathMiddleware(stack, self._root) if self._root else stack


def _telemetry(tracing: "Tracing | None") -> TelemetryConfig:
    # Unless it is switched off, FastAPI looks for a set-up of OpenTelemetry at every request, which takes time.
    nothing: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    if tracing is None:
        return nothing
    return {
        **nothing,
        "tracing": True,
        "tracer_provider": tracing.provider,
        "operation_spans": False,
        "exclude": lambda scope: scope["path"] in _UNTRACED or scope["path"].startswith(_PINGS),
    }
