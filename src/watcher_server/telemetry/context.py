"""Whose doing it is: the request that the present work was called for by, and the task that does it."""

import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

# Under these names a message carries the context, and the moment it fell due in seconds since 1970.
CONTEXT_HEADER = "watcher_context"
DUE_HEADER = "watcher_due"

# What is safe in a header, in a log line and in a search for it.
is_request_id = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

request_context: ContextVar[dict[str, Any] | None] = ContextVar("request_context", default=None)
task_context: ContextVar[Mapping[str, Any] | None] = ContextVar("task_context", default=None)


def current_context() -> dict[str, Any] | None:
    """What a task is to carry along from here: ``request_id`` and, when traced, ``traceparent``; None outside any."""
    return request_context.get()


def current_context_json() -> str | None:
    """As :func:`current_context`, for a statement that is written by hand."""
    context = request_context.get()
    return None if context is None else json.dumps(context)


def log_fields() -> dict[str, Any]:
    """What a log line that is written now names besides its message.

    Of ``request_id``, ``task_id``, ``task_name``, ``pipeline_id`` and ``execution_id`` those that are known.
    """
    context = request_context.get() or {}
    fields = {"request_id": context["request_id"]} if "request_id" in context else {}
    return {**fields, **(task_context.get() or {})}


def read_context(header: Any) -> dict[str, Any]:
    """The context in a message's header: what is sane of it, for anybody may write to the broker."""
    if not isinstance(header, dict):
        return {}
    request_id, traceparent = header.get("request_id"), header.get("traceparent")
    context = {}
    if isinstance(request_id, str) and is_request_id(request_id.encode(errors="replace")):
        context["request_id"] = request_id
    if isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent):
        context["traceparent"] = traceparent
    return context
