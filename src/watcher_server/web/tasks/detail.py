"""What the page of one task shows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.task_history.service import Task, find_task
from watcher_server.task_history.states import FINAL_STATES, RETRYABLE_STATES, TaskState
from watcher_server.web.tasks.listing import ERROR_STATES, meta_of, progress_of, read_pipeline_names
from watcher_server.web.tasks.timing import Stretch, span_text, stretches

# By ix_task_coalesced_into.
_COUNT_COALESCED = "SELECT count(*) FROM task WHERE coalesced_into = :id"


@dataclass(frozen=True)
class FailedTry:
    """A try that failed; ``at`` is UTC, None where the history does not say."""

    at: datetime | None
    exc_type: str
    exc_message: str


@dataclass(frozen=True)
class TaskFacts:
    """A task and what belongs to it; ``coalesced`` counts the tasks whose work it did besides its own."""

    task: Task
    pipeline_name: str | None
    coalesced: int

    @property
    def progress(self) -> float | None:
        """How far it is, in percent; None when it does not run."""
        return progress_of(self.task)

    @property
    def meta(self) -> dict[str, Any]:
        """What it says of itself, as its state calls for."""
        return meta_of(self.task)

    @property
    def has_error(self) -> bool:
        """Whether its last try ended with an error."""
        return self.task.state in ERROR_STATES

    @property
    def is_final(self) -> bool:
        """Whether nothing more will become of it by itself."""
        return self.task.state in FINAL_STATES

    @property
    def may_retry(self) -> bool:
        """Whether it can be run again."""
        return self.task.state in RETRYABLE_STATES

    @property
    def stretches(self) -> Sequence[Stretch]:
        """The parts of its life."""
        return stretches(self.task)

    @property
    def total(self) -> str:
        """From its creation to now, or to its end."""
        return span_text(sum(part.seconds for part in self.stretches))

    @property
    def arguments(self) -> str:
        """Its arguments as readable JSON."""
        return readable_json(self.task.kwargs)

    @property
    def result(self) -> str | None:
        """What it returned as readable JSON; None when it did not succeed."""
        return readable_json(self.meta.get("result")) if self.task.state == TaskState.SUCCESS else None

    @property
    def failed_tries(self) -> Sequence[FailedTry]:
        """The tries that failed, the newest first."""
        return [_failed_try(entry) for entry in reversed(self.task.history)]


async def read_task(session: AsyncSession, task_id: str) -> TaskFacts:
    """A task and what belongs to it.

    Raises:
        NotFoundError: there is no such task.
    """
    connection = await session.connection()
    task = await connection.run_sync(find_task, task_id)
    names = await read_pipeline_names(session, [task])
    coalesced = await session.scalar(text(_COUNT_COALESCED), {"id": task.id})
    return TaskFacts(task, names.get(task.pipeline_id or 0), coalesced or 0)


def readable_json(value: Any) -> str:
    """JSON as people read it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _failed_try(entry: dict[str, Any]) -> FailedTry:
    return FailedTry(
        at=_moment(entry.get("at")),
        exc_type=str(entry.get("exc_type") or "An error"),
        exc_message=str(entry.get("exc_message") or ""),
    )


def _moment(written: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(written))
    except ValueError:
        return None
