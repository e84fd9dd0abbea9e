"""What the page of one task shows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.database.asking import ask
from watcher_server.tasking.history.schemas import TaskDetail
from watcher_server.tasking.history.service import count_coalesced, find_task
from watcher_server.tasking.history.states import FINAL_STATES, TaskState
from watcher_server.web.tasks.listing import TaskRow, read_pipeline_names
from watcher_server.web.tasks.timing import Stretch, stretches


@dataclass(frozen=True)
class FailedTry:
    """A try that failed; ``at`` is UTC, None where the history does not say."""

    at: datetime | None
    exc_type: str
    exc_message: str


@dataclass(frozen=True)
class TaskFacts(TaskRow):
    """A task and what belongs to it; ``coalesced`` counts the tasks whose work it did besides its own."""

    task: TaskDetail
    coalesced: int

    @property
    def is_final(self) -> bool:
        """Whether its state can only change by a retry by hand."""
        return self.task.state in FINAL_STATES

    @property
    def stretches(self) -> Sequence[Stretch]:
        """The parts of its life."""
        return stretches(self.task)

    @property
    def arguments(self) -> str:
        """Its arguments as readable JSON."""
        return _readable_json(self.task.kwargs)

    @property
    def result(self) -> str | None:
        """What it returned as readable JSON; None when it did not succeed."""
        return _readable_json(self.meta.get("result")) if self.task.state == TaskState.SUCCESS else None

    @property
    def skipped(self) -> str | None:
        """What it was called with that does not exist, in its own words; None when it did its work."""
        result = self.meta.get("result")
        skipped = result.get("skipped") if isinstance(result, dict) else None
        return skipped if isinstance(skipped, str) else None

    @property
    def failed_tries(self) -> Sequence[FailedTry]:
        """The tries that failed, the newest first."""
        return [
            FailedTry(
                _moment(entry.get("at")), str(entry.get("exc_type") or "An error"), str(entry.get("exc_message") or "")
            )
            for entry in reversed(self.task.history)
        ]


async def read_task(session: AsyncSession, task_id: str) -> TaskFacts:
    """A task and what belongs to it. Raises NotFoundError: there is no such task."""
    task = await ask(session, find_task, task_id)
    names = await read_pipeline_names(session, [task])
    return TaskFacts(task, names.get(task.pipeline_id or 0), await ask(session, count_coalesced, task.id))


def _readable_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _moment(written: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(written))
    except ValueError:
        return None
