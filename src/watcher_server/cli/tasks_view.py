"""How ``watcher tasks`` looks."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from watcher_server.task_history.service import Task
from watcher_server.task_history.states import TaskState

# Below it a task takes a few lines of a column instead of one line of the table.
_WIDE_ENOUGH = 130
_LONGEST_BRIEF = 120
_FACTS = ("State", "Created (UTC)", "Tries")
_STYLES = {
    TaskState.SUCCESS: "green",
    TaskState.PROGRESS: "cyan",
    TaskState.RETRY: "yellow",
    TaskState.FAILURE: "red",
    TaskState.REVOKED: "red",
}


def render_list(tasks: Sequence[Task], width: int) -> RenderableType:
    """Tasks as a table for a terminal of so many columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    wide = width >= _WIDE_ENOUGH
    for column in ("ID", "Task", *_FACTS, "") if wide else ("Task", *_FACTS):
        table.add_column(column, no_wrap=column not in {"", "Task"}, justify="right" if column == "Tries" else "left")
    for task in tasks:
        name, brief = Text(_printable(task.name)), Text(_brief(task), style=_style(task))
        facts = (Text(task.state, style=_style(task)), _second(task.created_at), str(_tries(task)))
        if wide:
            table.add_row(str(task.id), name, *facts, brief)
        else:
            table.add_row(Group(name, Text(str(task.id), style="dim"), *([brief] if brief else [])), *facts)
    return table


def render_task(task: Task) -> RenderableType:
    """Everything about a task, the traceback last."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    for label, value in (*_facts(task), *_moments(task)):
        if value is not None:
            facts.add_row(label, value if isinstance(value, Text) else Text(_printable(str(value))))
    parts: list[RenderableType] = [facts]
    if task.history:
        parts += ["", _history(task.history)]
    if task.traceback:
        parts += ["", Text(_printable(task.traceback.rstrip()))]
    return Group(*parts)


def _facts(task: Task) -> Iterator[tuple[str, Any]]:
    yield "ID", task.id
    yield "Task", task.name
    yield "State", Text(task.state, style=_style(task))
    yield from _meta_lines(task)
    yield "Arguments", _json(task.kwargs)
    yield "Queue", task.queue
    yield "Pipeline", task.pipeline_id
    yield "Execution", task.pipeline_execution_id
    yield "Worker", task.worker
    yield "Request", task.request_id
    yield "Done with", task.coalesced_into


def _meta_lines(task: Task) -> Iterator[tuple[str, Any]]:
    meta = task.meta
    if task.state == TaskState.SUCCESS:
        yield "Result", _json(meta["result"])
    elif isinstance(meta, dict) and "exc_type" in meta:
        yield "Error", f"{meta['exc_type']}: {meta['exc_message']}"
        yield "Retries", f"{meta['retry_count']} of {meta['max_retries']}"
    elif isinstance(meta, dict):
        for key, value in meta.items():
            yield str(key).replace("_", " ").capitalize(), f"{value}%" if key == "progress" else value


def _moments(task: Task) -> Iterator[tuple[str, str | None]]:
    yield "Created", _moment(task.created_at)
    yield "Due", _moment(task.due_at)
    yield "Published", _moment(task.published_at)
    yield "Started", _moment(task.started_at)
    yield "Finished", _moment(task.finished_at)


def _history(history: Sequence[dict[str, Any]]) -> Table:
    table = Table("Failed tries (UTC)", "", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.columns[0].no_wrap = True
    for tried in history:
        at = str(tried.get("at", ""))[:19].replace("T", " ")
        table.add_row(at, Text(_printable(f"{tried.get('exc_type')}: {tried.get('exc_message')}")))
    return table


def _brief(task: Task) -> str:
    """What there is to know about the state, in a few words."""
    meta = task.meta if isinstance(task.meta, dict) else {}
    if "exc_type" in meta:
        words = f"{meta['exc_type']}: {meta['exc_message']}"
    elif task.state == TaskState.PROGRESS:
        words = f"{meta.get('progress', 0)}% {meta.get('current_step', '')}"
    else:
        words = ""
    if task.due_at is not None and task.due_at > datetime.now(UTC):
        words += f" (not before {_second(task.due_at)})"
    line = _printable(" ".join(words.split()))
    return line if len(line) <= _LONGEST_BRIEF else line[: _LONGEST_BRIEF - 1] + "…"


def _tries(task: Task) -> int:
    """How often it was begun: each try that failed, and the one that is under way or succeeded."""
    return task.failed_tries + (task.state in {TaskState.PROGRESS, TaskState.SUCCESS})


def _style(task: Task) -> str:
    return next((style for state, style in _STYLES.items() if state == task.state), "")


def _second(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else f"{_second(moment)} UTC"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _printable(text: str) -> str:
    """Without what would steer the terminal: errors quote what others wrote."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
