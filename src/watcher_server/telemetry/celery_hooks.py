"""Celery's signals that put the task, and the request behind it, into logs and traces.

Two lines of the specification need them: "Log all errors with context", and "Automatic task tracking and performance
metrics" for Logfire. Why no library does this is in ``docs/decisions/0025-spans-of-our-own.md``.
"""

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from celery import signals

from watcher_server.settings import get_settings
from watcher_server.telemetry import worker_logs
from watcher_server.telemetry.context import (
    CONTEXT_HEADER,
    current_context,
    read_context,
    request_context,
    task_context,
)
from watcher_server.telemetry.tracing import configure_tracing, require_tracing

if TYPE_CHECKING:
    from watcher_server.telemetry.spans import Tracing


def install() -> None:
    """Listen from now on, in this process and in those that it forks.

    Raises:
        SettingsError: traces are on, and the packages for them are not installed.
    """
    # Loaded before the pool forks, so that its processes share the memory.
    require_tracing(get_settings())
    worker_logs.install()
    signals.task_prerun.connect(_begin)
    signals.task_postrun.connect(_end)
    # The first is sent by each process of a pool, the second by a worker that runs its tasks itself.
    signals.worker_process_shutdown.connect(_close_tracing)
    signals.worker_shutdown.connect(_close_tracing)


def _begin(task: Any, task_id: str, kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
    # A task that runs within another task, or within a request, belongs to that one.
    context = read_context(task.request.get(CONTEXT_HEADER)) or current_context() or {}
    given = kwargs or {}
    execution_id = given.get("pipeline_execution_id", given.get("execution_id"))
    ids = {"pipeline_id": given.get("pipeline_id"), "execution_id": execution_id}
    known = {name: value for name, value in ids.items() if isinstance(value, int)}
    fields = {"task_id": task_id, "task_name": task.name, **known}
    tracing, span = _tracing_of(os.getpid()), None
    if tracing is not None:
        span = tracing.start_task(task.request, context, fields)
        # The tasks that this one sends are below it in the trace.
        context = {**context, "traceparent": span.traceparent} if span.traceparent else context
    # Kept with the run of the task, for tasks can be nested, and threads can run them side by side.
    task.request.watcher_run = request_context.set(context or None), task_context.set(fields), span


def _end(task: Any, retval: Any = None, state: str | None = None, **_: Any) -> None:
    run = task.request.get("watcher_run")
    if run is None:
        return
    request_token, task_token, span = run
    task_context.reset(task_token)
    request_context.reset(request_token)
    if span is not None:
        span.end(state, retval)


@cache
def _tracing_of(_pid: int) -> "Tracing | None":
    """The tracing of this process: a fork does not copy the thread that sends the spans of its parent."""
    return configure_tracing("watcher-worker", get_settings())


def _close_tracing(**_: Any) -> None:
    # A process that ran no task has none to close.
    if _tracing_of.cache_info().currsize:
        tracing = _tracing_of(os.getpid())
        if tracing is not None:
            # How long the end of a process waits for its last spans to be sent.
            tracing.close(2.0)
