"""What a trace of Watcher consists of: the span of a request, and below it one for each run of a task it called for."""

import time
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any

from celery.exceptions import Retry
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from watcher_server import __version__
from watcher_server.telemetry.context import DUE_HEADER
from watcher_server.telemetry.exporting import close_provider, make_provider
from watcher_server.telemetry.redaction import redact

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """The spans of this process.

    ``provider`` is what FastAPI, or another library, makes spans with.
    """

    def __init__(self, service: str) -> None:
        self.provider = make_provider(service)
        self._tracer = self.provider.get_tracer("watcher", __version__)

    def close(self, seconds: float) -> bool:
        """Send what was not sent yet, and end; False when that was not done after so many seconds."""
        return close_provider(self.provider, seconds)

    @staticmethod
    def request_trace(ingest_paths: Collection[str]) -> Callable[[Scope, str], str | None]:
        """From a request and its id to its traceparent (W3C Trace Context).

        It completes the span that FastAPI began. FastAPI names a span by the route that it finds, and the
        ``ingest_paths`` are answered before it looks for one.
        """

        def find(scope: Scope, request_id: str) -> str | None:
            span = trace.get_current_span()
            span.set_attribute("watcher.request_id", request_id)
            if scope["method"] == "POST" and scope["path"] in ingest_paths:
                span.set_attribute("http.route", scope["path"])
                span.update_name(f"POST {scope['path']}")
            return _traceparent(span)

        return find

    def start_task(self, request: Any, context: Mapping[str, Any], fields: Mapping[str, Any]) -> "TaskSpan":
        """Begin the span of one run of a task, below the request or the task that called for it.

        Its attribute ``watcher.outbox.wait_seconds`` is the time from when the task was due until now: that in the
        outbox, where rate limits hold it back, and that in the broker.

        Args:
            request: Celery's request of the task.
            context: whose doing the task is.
            fields: what the log names the task by.
        """
        carrier = {name: value for name, value in context.items() if name == "traceparent"}
        span = self._tracer.start_span(
            f"run {fields['task_name']}",
            context=_propagator.extract(carrier, Context()),
            kind=SpanKind.CONSUMER,
            attributes=_task_attributes(request, {**context, **fields}),
        )
        return TaskSpan(span)


class TaskSpan:
    """The span of one run of a task."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = _traceparent(span)

    def end(self, state: str | None, outcome: Any) -> None:
        """End it, with the state that the task is in now and, where it failed, with the error that is its outcome."""
        # Without a state the process is being ended in the middle of the task.
        self._span.set_attribute("celery.state", state or "INTERRUPTED")
        error = outcome.exc if isinstance(outcome, Retry) and outcome.exc is not None else outcome
        if state in {"FAILURE", "RETRY"} and isinstance(error, BaseException):
            self._record(error)
        elif state is None:
            self._span.set_status(StatusCode.ERROR, "interrupted")
        self._span.end()

    def _record(self, error: BaseException) -> None:
        kind = type(error).__qualname__
        stack = "".join(traceback.format_exception(error))
        self._span.set_attribute("error.type", kind)
        self._span.add_event(
            "exception",
            {
                "exception.type": kind,
                "exception.message": redact(str(error)),
                "exception.stacktrace": redact(stack),
            },
        )
        self._span.set_status(StatusCode.ERROR, redact(f"{kind}: {error}"))


def _traceparent(span: Span) -> str | None:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get("traceparent")


def _task_attributes(request: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    due = request.get(DUE_HEADER)
    attributes = {
        "messaging.system": "celery",
        "messaging.operation.type": "process",
        "messaging.message.id": known["task_id"],
        "messaging.destination.name": (request.delivery_info or {}).get("routing_key"),
        "celery.task_name": known["task_name"],
        "celery.retries": request.retries,
        "watcher.request_id": known.get("request_id"),
        "watcher.pipeline_id": known.get("pipeline_id"),
        "watcher.execution_id": known.get("execution_id"),
        "watcher.outbox.wait_seconds": max(0.0, time.time() - due) if isinstance(due, int | float) else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}
