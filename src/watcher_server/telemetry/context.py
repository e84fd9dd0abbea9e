"""The request that caused the present work, and the task that does it."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

# Headers of a task's message: the context, and the moment when the task was due, in seconds since 1970.
CONTEXT_HEADER = "watcher_context"
DUE_HEADER = "watcher_due"

# Safe in a header and in a log line, and easy to search for.
is_request_id = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

request_context: ContextVar[dict[str, Any] | None] = ContextVar("request_context", default=None)
task_context: ContextVar[Mapping[str, Any] | None] = ContextVar("task_context", default=None)


def current_context() -> dict[str, Any] | None:
    """What a task sent now carries: ``request_id`` and, when traced, ``traceparent``; None without a request."""
    return request_context.get()


def current_context_json() -> str | None:
    """:func:`current_context` as JSON, for a parameter of a statement."""
    context = request_context.get()
    if context is None:
        return None
    # Neither an id nor a trace has a character that JSON would escape.
    return "{" + ", ".join([f'"{name}": "{value}"' for name, value in context.items()]) + "}"


def log_fields() -> dict[str, Any]:
    """The fields of a log line that is written now, as far as they are known.

    They are ``request_id``, ``task_id``, ``task_name``, ``pipeline_id`` and ``execution_id``.
    """
    context = request_context.get() or {}
    fields = {"request_id": context["request_id"]} if "request_id" in context else {}
    return {**fields, **(task_context.get() or {})}


def read_context(header: Any) -> dict[str, Any]:
    """The context in a message's header, without values of the wrong form: other programs can write to the broker."""
    if not isinstance(header, dict):
        return {}
    request_id, traceparent = header.get("request_id"), header.get("traceparent")
    context = {}
    if isinstance(request_id, str) and is_request_id(request_id.encode(errors="replace")):
        context["request_id"] = request_id
    if isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent):
        context["traceparent"] = traceparent
    return context
