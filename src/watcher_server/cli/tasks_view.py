"""How ``watcher tasks`` looks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from watcher_server.cli.terminal import plain_table, second
from watcher_server.kit.text import escape_controls
from watcher_server.tasking.history.schemas import TaskDetail, TaskSummary
from watcher_server.tasking.history.states import TaskState

_STYLES: Mapping[str, str] = {
    TaskState.SUCCESS: "green",
    TaskState.PROGRESS: "cyan",
    TaskState.RETRY: "yellow",
    TaskState.FAILURE: "red",
    TaskState.REVOKED: "red",
}


def render_list(tasks: Sequence[TaskSummary], width: int) -> RenderableType:
    """Tasks as a table for a terminal of ``width`` columns."""
    table = plain_table()
    # In a narrower terminal a task takes several lines of the table.
    wide = width >= 130  # noqa: PLR2004 - a table of one line per task is about as wide
    columns = ("Task", "State", "Created (UTC)", "Tries")
    for column in ("ID", *columns, "") if wide else columns:
        table.add_column(column, no_wrap=column not in {"", "Task"}, justify="right" if column == "Tries" else "left")
    for task in tasks:
        name, brief = Text(escape_controls(task.name)), Text(_brief(task), style=_STYLES.get(task.state, ""))
        facts = (
            Text(escape_controls(task.state), style=_STYLES.get(task.state, "")),
            second(task.created_at),
            # Each failed try is a start, and so is the one that runs or succeeded.
            str(task.failed_tries + (task.state in {TaskState.PROGRESS, TaskState.SUCCESS})),
        )
        if wide:
            table.add_row(str(task.id), name, *facts, brief)
        else:
            table.add_row(Group(name, Text(str(task.id), style="dim"), *([brief] if brief else [])), *facts)
    return table


def render_task(task: TaskDetail) -> RenderableType:
    """Everything about a task, the traceback last."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    for label, value in _facts(task):
        if value is not None:
            shown = value if isinstance(value, Text) else Text(escape_controls(str(value), keep_layout=True))
            facts.add_row(label, shown)
    parts: list[RenderableType] = [facts]
    if task.history:
        parts += ["", _history(task.history)]
    if task.traceback:
        parts += ["", Text(escape_controls(task.traceback.rstrip(), keep_layout=True))]
    return Group(*parts)


def _facts(task: TaskDetail) -> Iterator[tuple[str, Any]]:
    yield "ID", task.id
    yield "Task", task.name
    yield "State", Text(escape_controls(task.state), style=_STYLES.get(task.state, ""))
    yield from _meta_lines(task)
    yield "Arguments", _json(task.kwargs)
    yield "Queue", task.queue
    yield "Pipeline", task.pipeline_id
    yield "Execution", task.pipeline_execution_id
    yield "Worker", task.worker
    yield "Request", task.request_id
    yield "Done with", task.coalesced_into
    moments = {
        "Created": task.created_at,
        "Due": task.due_at,
        "Published": task.published_at,
        "Started": task.started_at,
        "Finished": task.finished_at,
    }
    for label, moment in moments.items():
        yield label, None if moment is None else f"{second(moment)} UTC"


def _meta_lines(task: TaskDetail) -> Iterator[tuple[str, Any]]:
    meta = task.meta
    if task.state == TaskState.SUCCESS:
        yield "Result", _json(meta["result"])
    elif isinstance(meta, dict) and "exc_type" in meta:
        yield "Error", f"{meta['exc_type']}: {meta['exc_message']}"
        yield "Retries", f"{meta['retry_count']} of {meta['max_retries']}"
    elif isinstance(meta, dict):
        for key, value in meta.items():
            yield str(key).replace("_", " ").capitalize(), f"{value}%" if key == "progress" else value


def _history(history: Sequence[dict[str, Any]]) -> Table:
    table = plain_table("Failed tries (UTC)", "")
    table.columns[0].no_wrap = True
    for tried in history:
        at = escape_controls(str(tried.get("at", ""))[:19].replace("T", " "))
        error = f"{tried.get('exc_type')}: {tried.get('exc_message')}"
        table.add_row(at, Text(escape_controls(error, keep_layout=True)))
    return table


def _brief(task: TaskSummary) -> str:
    """The error, the progress or the time of the next try, in one line."""
    meta = task.meta if isinstance(task.meta, dict) else {}
    if "exc_type" in meta:
        words = f"{meta['exc_type']}: {meta['exc_message']}"
    elif task.state == TaskState.PROGRESS:
        words = f"{meta.get('progress', 0)}% {meta.get('current_step', '')}"
    else:
        words = ""
    if task.due_at is not None and task.due_at > datetime.now(UTC):
        words += f" (not before {second(task.due_at)})"
    line = escape_controls(" ".join(words.split()))
    return line if len(line) <= 120 else line[:119] + "…"  # noqa: PLR2004 - a line of a wide terminal


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
