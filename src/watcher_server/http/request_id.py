"""An id for every request: in its answer, in the log, and in whatever it causes."""

import random
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watcher_server.telemetry.context import is_request_id, request_context

if TYPE_CHECKING:
    from watcher_server.telemetry.spans import Tracing

_HEADER = b"x-request-id"
# Asked every few seconds by programs that watch this one.
_UNTRACED = frozenset({"/health/live", "/health/ready", "/metrics"})

# From the request and its id to its trace, as what it causes is to name it; None when it has none.
FindTrace = Callable[[Scope, str], str | None]


class RequestIdMiddleware:
    """Names each request by the ``X-Request-ID`` that it carries, or by a new one, and says so in the answer.

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
        request_id = _given_id(scope) or _new_id()
        context: dict[str, Any] = {"request_id": request_id}
        headers = [(_HEADER, request_id.encode())]
        traceparent = self._find_trace(scope, request_id) if self._find_trace is not None else None
        if traceparent is not None:
            context["traceparent"] = traceparent
            headers.append((b"traceparent", traceparent.encode()))

        # Not a coroutine: it is called twice in every request.
        def send_named(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            return send(message)

        token = request_context.set(context)
        await self.app(scope, receive, send_named)
        # Not after an error, so that whoever logs it finds the id.
        request_context.reset(token)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER:
            given: bytes = value
            return given.decode() if is_request_id(given) else None
    return None


def _new_id() -> str:
    return f"{random.getrandbits(128):032x}"


class NamedRequestsApp(FastAPI):
    """FastAPI with the request's id in every answer: also in that to a bug, which is given outside all middleware.

    With ``tracing``, FastAPI makes a span of each request. It finds no route for those to ``ingest_paths``, which are
    answered before it looks for one.
    """

    def __init__(self, *, tracing: "Tracing | None", ingest_paths: Collection[str], **options: Any) -> None:
        self._find_trace = None if tracing is None else tracing.request_trace(ingest_paths)
        super().__init__(telemetry=_telemetry(tracing), **options)

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's own, within the request's id."""
        return RequestIdMiddleware(super().build_middleware_stack(), self._find_trace)


def _telemetry(tracing: "Tracing | None") -> TelemetryConfig:
    # Without a word, FastAPI looks for somebody's set-up of OpenTelemetry at every request, which takes its time.
    nothing: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    if tracing is None:
        return nothing
    return {
        **nothing,
        "tracing": True,
        "tracer_provider": tracing.provider,
        "operation_spans": False,
        "exclude": lambda scope: scope["path"] in _UNTRACED,
    }
