"""What the list of tasks shows: a page of them, how many are in which state, and the names there are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.database.asking import ask
from watcher_server.kit.fields import INT_MAX
from watcher_server.kit.names import fold
from watcher_server.pipelines import service as pipelines
from watcher_server.pipelines.models import Pipeline
from watcher_server.tasking.history.schemas import TaskList, TaskSummary
from watcher_server.tasking.history.service import count_failed, count_states, find_names, list_tasks
from watcher_server.tasking.history.states import ERROR_STATES, RETRYABLE_STATES, TaskState
from watcher_server.web.tasks.query import TasksView
from watcher_server.web.tasks.timing import ran_seconds, span_text, waited_seconds


@dataclass(frozen=True)
class TaskRow:
    """A task of the list, with the name of the pipeline that it is about."""

    task: TaskSummary
    pipeline_name: str | None

    @property
    def meta(self) -> dict[str, Any]:
        """What it says of itself; empty when a program that writes to the broker gave it another shape."""
        return self.task.meta if isinstance(self.task.meta, dict) else {}

    @property
    def waited(self) -> str:
        """How long it waited for its last try."""
        return span_text(waited_seconds(self.task))

    @property
    def ran(self) -> str:
        """How long its last try ran."""
        return span_text(ran_seconds(self.task))

    @property
    def progress(self) -> float | None:
        """How far it is, in percent; None when it does not run."""
        if self.task.state != TaskState.PROGRESS:
            return None
        progress = self.meta.get("progress")
        is_number = isinstance(progress, int | float) and not isinstance(progress, bool)
        # The bounds come first: JSON has numbers that are too large for a float.
        return float(min(100, max(0, progress))) if is_number and progress is not None else 0.0

    @property
    def step(self) -> str:
        """What it does at the moment, in its own words."""
        return str(self.meta.get("current_step") or self.meta.get("status") or "")

    @property
    def error(self) -> str | None:
        """What its last try ended with; None when that was no error."""
        if self.task.state not in ERROR_STATES:
            return None
        parts = (self.meta.get("exc_type"), self.meta.get("exc_message"))
        return ": ".join(str(part) for part in parts if part) or "An error"

    @property
    def may_retry(self) -> bool:
        """Whether it can be run again."""
        return self.task.state in RETRYABLE_STATES

    @property
    def result(self) -> str | None:
        """What it returned, in a few words; None when it did not succeed, or returned nothing."""
        result = self.meta.get("result") if self.task.state == TaskState.SUCCESS else None
        if result in (None, "", [], {}):
            return None
        if isinstance(result, dict):
            words = ", ".join(f"{name.replace('_', ' ')} {_compact(value)}" for name, value in result.items())
        else:
            words = _compact(result)
        return words if len(words) <= 120 else f"{words[:120]}…"  # noqa: PLR2004 - what fits into a line


@dataclass(frozen=True)
class TaskListing:
    """A page of the list.

    ``counts`` has the tasks that wait, run, will be tried again or failed, whatever the filters. ``failed`` is how many
    failed for good, of the filtered name if there is one. ``unknown_pipeline`` is a filter that names no pipeline.
    """

    rows: Sequence[TaskRow]
    more: bool
    counts: Mapping[str, int]
    failed: int
    names: Sequence[str]
    unknown_pipeline: str | None


async def read_listing(session: AsyncSession, view: TasksView) -> TaskListing:
    """The page of the list that the address asks for."""
    pipeline_id = await _find_pipeline(session, view)
    unknown = view.pipeline if view.pipeline is not None and pipeline_id is None else None
    page = TaskList(tasks=[], next_offset=None)
    if unknown is None:
        page = await ask(session, list_tasks, view.task_query(pipeline_id))
    shown = await read_pipeline_names(session, page.tasks)
    failed = await ask(session, count_failed)
    return TaskListing(
        rows=[TaskRow(task, shown.get(task.pipeline_id or 0)) for task in page.tasks],
        more=page.next_offset is not None,
        counts=await ask(session, count_states),
        failed=sum(failed.values()) if view.name is None else failed.get(view.name, 0),
        names=await ask(session, find_names),
        unknown_pipeline=unknown,
    )


async def _find_pipeline(session: AsyncSession, view: TasksView) -> int | None:
    """The id of the pipeline that was asked for by its name, or by its id; None for none."""
    if view.pipeline is None:
        return view.pipeline_id
    found: int | None = await session.scalar(select(Pipeline.id).where(Pipeline.name == fold(view.pipeline)))
    if found is None and view.pipeline.isdecimal() and int(view.pipeline) <= INT_MAX:
        # There may be tasks of a pipeline that was deleted.
        return int(view.pipeline)
    return found


async def read_pipeline_names(session: AsyncSession, tasks: Sequence[TaskSummary]) -> dict[int, str]:
    """The names of the pipelines that these tasks are about, by their ids; by the primary key."""
    return await pipelines.find_names(session, {task.pipeline_id for task in tasks if task.pipeline_id is not None})


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
