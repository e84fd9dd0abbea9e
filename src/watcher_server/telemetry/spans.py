"""The spans of a trace: one of the request, and below it one for each run of a task that the request caused."""

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from celery.exceptions import Retry
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from watcher_server import __version__
from watcher_server.telemetry.context import DUE_HEADER
from watcher_server.telemetry.exporting import make_provider
from watcher_server.telemetry.redaction import redact

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """Makes the spans of this process; ``provider`` is for FastAPI, which makes those of requests."""

    def __init__(self, service: str) -> None:
        self.provider = make_provider(service)
        self._tracer = self.provider.get_tracer("watcher", __version__)

    def close(self, seconds: float) -> bool:
        """Send the remaining spans and end; False when that took longer than the given seconds."""
        closing = threading.Thread(target=self.provider.shutdown, name="close-tracing", daemon=True)
        closing.start()
        closing.join(seconds)
        return not closing.is_alive()

    @staticmethod
    def request_trace(find_path: Callable[[Scope], str | None]) -> Callable[[Scope, str], str | None]:
        """A function from a request and its id to its traceparent (W3C Trace Context).

        The function completes the span that FastAPI began. FastAPI names a span by its route, but requests for which
        ``find_path`` finds one are answered before FastAPI looks for it.
        """

        def find(scope: Scope, request_id: str) -> str | None:
            span = trace.get_current_span()
            span.set_attribute("watcher.request_id", request_id)
            path = find_path(scope)
            if path is not None:
                span.set_attribute("http.route", path)
                span.update_name(f"{scope['method']} {path}")
            return _traceparent(span)

        return find

    def start_task(self, request: Any, context: Mapping[str, Any], fields: Mapping[str, Any]) -> "TaskSpan":
        """Begin the span of one run of a task, below the request or the task that caused it.

        Its attribute ``watcher.outbox.wait_seconds`` is how long the task waited after it was due: in the outbox, where
        rate limits hold it back, and in the broker.

        Args:
            request: Celery's request of the task.
            context: the request id and the traceparent that the task's message carries.
            fields: the fields of the task's log lines.
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
        """End the span with the state of the task and, if it failed, with its error."""
        # Celery gives no state when the process is ended in the middle of the task.
        self._span.set_attribute("celery.state", state or "INTERRUPTED")
        error = outcome.exc if isinstance(outcome, Retry) and outcome.exc is not None else outcome
        if state in {"FAILURE", "RETRY"} and isinstance(error, BaseException):
            self._record(error)
        elif state is None:
            self._span.set_status(StatusCode.ERROR, "interrupted")
        self._span.end()

    def _record(self, error: BaseException) -> None:
        kind = type(error).__qualname__
        self._span.set_attribute("error.type", kind)
        self._span.add_event(
            "exception",
            {
                "exception.type": kind,
                "exception.message": redact(str(error)),
                "exception.stacktrace": redact("".join(traceback.format_exception(error))),
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
