"""What Celery's signals are listened to for: logs and traces that name the task, and the request behind it."""

import os
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
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
    from watcher_server.telemetry.spans import TaskSpan, Tracing

# How long the end of a process waits for its last spans to be sent.
_LAST_SPANS_SECONDS = 2.0


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
    # The one ends a process of a pool, the other a worker that runs its tasks itself.
    signals.worker_process_shutdown.connect(_close_tracing)
    signals.worker_shutdown.connect(_close_tracing)


@dataclass
class _Run:
    """What lasts as long as a task runs."""

    tokens: list[tuple[ContextVar[Any], Token[Any]]] = field(default_factory=list)
    span: "TaskSpan | None" = None

    def bind(self, variable: ContextVar[Any], value: Any) -> None:
        self.tokens.append((variable, variable.set(value)))

    def end(self, state: str | None, outcome: Any) -> None:
        for variable, token in reversed(self.tokens):
            variable.reset(token)
        if self.span is not None:
            self.span.end(state, outcome)


def _begin(task: Any, task_id: str, kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
    # A task that is called within another, or within a request, is the doing of that.
    context = read_context(task.request.get(CONTEXT_HEADER)) or current_context() or {}
    fields = {"task_id": task_id, "task_name": task.name, **_subject(kwargs or {})}
    run = _Run()
    tracing = _tracing_of(os.getpid())
    if tracing is not None:
        run.span = tracing.start_task(task.request, context, fields)
        # What the task calls for is below the task.
        context = {**context, "traceparent": run.span.traceparent} if run.span.traceparent else context
    run.bind(request_context, context or None)
    run.bind(task_context, fields)
    # Kept where the run is: tasks can be nested, and threads can run them side by side.
    task.request.watcher_run = run


def _end(task: Any, retval: Any = None, state: str | None = None, **_: Any) -> None:
    run: _Run | None = task.request.get("watcher_run")
    if run is not None:
        run.end(state, retval)


def _subject(kwargs: Mapping[str, Any]) -> dict[str, int]:
    execution_id = kwargs.get("pipeline_execution_id", kwargs.get("execution_id"))
    ids = {"pipeline_id": kwargs.get("pipeline_id"), "execution_id": execution_id}
    return {name: value for name, value in ids.items() if isinstance(value, int)}


@cache
def _tracing_of(_pid: int) -> "Tracing | None":
    """The tracing of this process: the thread that sends for its parent is not there in a forked one."""
    return configure_tracing("watcher-worker", get_settings())


def _close_tracing(**_: Any) -> None:
    # Not made only to be closed, by a process that ran no task.
    if _tracing_of.cache_info().currsize:
        tracing = _tracing_of(os.getpid())
        if tracing is not None:
            tracing.close(_LAST_SPANS_SECONDS)
