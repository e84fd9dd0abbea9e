"""What the list of tasks shows: a page of them, how many are in which state, and the names there are."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.pipelines.models import Pipeline
from watcher_server.task_history.service import Task, TaskPage, list_tasks
from watcher_server.task_history.states import RETRYABLE_STATES, TaskState
from watcher_server.web.tasks.query import TasksView
from watcher_server.web.tasks.timing import ran_seconds, span_text, waited_seconds

ERROR_STATES = RETRYABLE_STATES | {TaskState.RETRY}

_LONGEST_RESULT = 120
_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True)
class TaskRow:
    """A task of the list, with the name of the pipeline that it is about."""

    task: Task
    pipeline_name: str | None

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
        return progress_of(self.task)

    @property
    def step(self) -> str:
        """What it does at the moment, in its own words."""
        said = meta_of(self.task)
        return str(said.get("current_step") or said.get("status") or "")

    @property
    def error(self) -> str | None:
        """What its last try ended with; None when that was no error."""
        if self.task.state not in ERROR_STATES:
            return None
        said = meta_of(self.task)
        return ": ".join(str(part) for part in (said.get("exc_type"), said.get("exc_message")) if part) or "An error"

    @property
    def may_retry(self) -> bool:
        """Whether it can be run again."""
        return self.task.state in RETRYABLE_STATES

    @property
    def result(self) -> str | None:
        """What it returned, in a few words; None when it did not succeed, or returned nothing."""
        result = meta_of(self.task).get("result") if self.task.state == TaskState.SUCCESS else None
        if result in (None, "", [], {}):
            return None
        if isinstance(result, dict):
            words = ", ".join(f"{name.replace('_', ' ')} {_compact(value)}" for name, value in result.items())
        else:
            words = _compact(result)
        return words if len(words) <= _LONGEST_RESULT else f"{words[:_LONGEST_RESULT]}…"


@dataclass(frozen=True)
class TaskListing:
    """A page of the list.

    ``counts`` are of the states that are not the rule, over all tasks; ``failed`` is how many failed for good, of the
    name that the list is narrowed to where there is one. ``unknown_pipeline`` is what was asked for and does not exist.
    """

    rows: Sequence[TaskRow]
    more: bool
    counts: Mapping[str, int]
    failed: int
    names: Sequence[str]
    unknown_pipeline: str | None


def meta_of(task: Task) -> dict[str, Any]:
    """What a task says of itself; programs that write to the broker may have it say anything."""
    return task.meta if isinstance(task.meta, dict) else {}


def progress_of(task: Task) -> float | None:
    """How far a task is, in percent; None when it does not run."""
    if task.state != TaskState.PROGRESS:
        return None
    progress = meta_of(task).get("progress")
    is_number = isinstance(progress, int | float) and not isinstance(progress, bool)
    # First cut down: JSON has numbers that are too large for a float.
    return float(min(100, max(0, progress))) if is_number and progress is not None else 0.0


async def read_listing(session: AsyncSession, view: TasksView) -> TaskListing:
    """The page of the list that the address asks for."""
    pipeline_id = await _find_pipeline(session, view)
    unknown = view.pipeline if view.pipeline is not None and pipeline_id is None else None
    page = TaskPage([], None) if unknown is not None else await _read_page(session, view, pipeline_id)
    pipelines = await read_pipeline_names(session, page.tasks)
    counts = await _count_states(session)
    return TaskListing(
        rows=[TaskRow(task, pipelines.get(task.pipeline_id or 0)) for task in page.tasks],
        more=page.next_offset is not None,
        counts=counts,
        failed=counts[TaskState.FAILURE] if view.name is None else await _count_failed(session, view.name),
        names=await _read_names(session),
        unknown_pipeline=unknown,
    )


async def _read_page(session: AsyncSession, view: TasksView, pipeline_id: int | None) -> TaskPage:
    connection = await session.connection()
    return await connection.run_sync(list_tasks, view.task_query(pipeline_id))


async def _find_pipeline(session: AsyncSession, view: TasksView) -> int | None:
    """The id of the pipeline that was asked for by its name, or by its id; None for none."""
    if view.pipeline is None:
        return view.pipeline_id
    by_name = select(Pipeline.id).where(Pipeline.name == view.pipeline.lower())
    found: int | None = await session.scalar(by_name)
    if found is None and view.pipeline.isdecimal() and int(view.pipeline) <= _LARGEST_ID:
        # Of a pipeline that is gone there may be tasks yet.
        return int(view.pipeline)
    return found


async def read_pipeline_names(session: AsyncSession, tasks: Sequence[Task]) -> dict[int, str]:
    """The names of the pipelines that these tasks are about, by their ids; by the primary key."""
    ids = sorted({task.pipeline_id for task in tasks if task.pipeline_id is not None})
    if not ids:
        return {}
    rows = await session.execute(text("SELECT id, name FROM pipeline WHERE id = ANY (:ids)"), {"ids": ids})
    return {row.id: row.name for row in rows}


# By ix_task_under_way and ix_task_failed: tasks that are done are not looked at. What waits in the outbox to be tried
# again is in ``task`` as RETRY, and what was put back by hand as PENDING without a time of publication. More than
# ten thousand in the outbox are as good as any number here: the queues above count them.
_COUNT = """
SELECT state, count(*) AS number FROM task
WHERE state IN ('PENDING', 'PROGRESS', 'RETRY') AND (state <> 'PENDING' OR published_at IS NOT NULL)
GROUP BY state
UNION ALL
SELECT 'PENDING', count(*) FROM (SELECT FROM outbox WHERE retries = 0 LIMIT 10000) AS waiting
UNION ALL
SELECT 'FAILURE', count(*) FROM task WHERE state = 'FAILURE'
"""

# By ix_task_failed, which is of the name.
_COUNT_FAILED_OF_NAME = "SELECT count(*) FROM task WHERE state = 'FAILURE' AND name = :name"

# From one name to the next one in ix_task_name_created_at, however many tasks there are of each.
_NAMES = """
WITH RECURSIVE known (name) AS (
    (SELECT name FROM task ORDER BY name LIMIT 1)
    UNION ALL
    SELECT (SELECT task.name FROM task WHERE task.name > known.name ORDER BY task.name LIMIT 1)
    FROM known WHERE known.name IS NOT NULL
)
SELECT name FROM known WHERE name IS NOT NULL
"""


async def _count_states(session: AsyncSession) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in await session.execute(text(_COUNT)):
        counts[row.state] += row.number
    return counts


async def _count_failed(session: AsyncSession, name: str) -> int:
    return await session.scalar(text(_COUNT_FAILED_OF_NAME), {"name": name}) or 0


async def _read_names(session: AsyncSession) -> list[str]:
    return list(await session.scalars(text(_NAMES)))


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
