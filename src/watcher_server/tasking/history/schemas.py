"""The HTTP shapes of the task history."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from watcher_server.kit.fields import INT_MAX, Id, RequestBody, ResponseBody, UtcDatetime
from watcher_server.tasking.history.states import TaskState


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


State = Annotated[TaskState, BeforeValidator(_upper, json_schema_input_type=TaskState)]
# As Celery knows it: upper and lower case differ.
TaskName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


class TaskQuery(BaseModel):
    """Which tasks a list holds, the newest first: those created from ``since`` on and before ``until``."""

    name: TaskName | None = None
    state: State | None = None
    pipeline_id: Id | None = None
    pipeline_execution_id: Id | None = None
    since: UtcDatetime | None = None
    until: UtcDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    offset: Annotated[int, Field(ge=0, le=INT_MAX)] = 0


class TaskSummary(ResponseBody):
    """A task as a list shows it. Times are UTC, and null for what has not happened.

    ``meta`` depends on the state. PENDING: null. PROGRESS: ``status``, ``current_step``, ``progress`` (percent).
    SUCCESS: ``result``. RETRY and FAILURE: ``exc_type``, ``exc_message``, ``retry_count``, ``max_retries``.

    In a list, arguments of more than 4096 bytes are ``{"truncated": true, "bytes": N}`` in ``kwargs``; ask for the task
    by its id to see them.

    ``due_at`` is when a task that waits may be sent to a worker: its next try. ``coalesced_into`` is the task that did
    the work of this one too; state, meta and what follows from them are then of that task. ``failed_tries`` counts
    over all times it was retried by hand.
    """

    # Nothing but these fields: to the type checker, a field named kwargs and further keywords are one too many.
    model_config = ConfigDict(extra="forbid")

    id: UUID
    name: str
    state: str
    meta: Any
    kwargs: dict[str, Any]
    queue: str
    pipeline_id: int | None
    pipeline_execution_id: int | None
    retries: int
    failed_tries: int
    created_at: datetime
    due_at: datetime | None
    published_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    coalesced_into: UUID | None
    request_id: str | None


class TaskDetail(TaskSummary):
    """A task, whole. ``history`` has ``at``, ``exc_type`` and ``exc_message`` of each failed try, the oldest first."""

    history: list[dict[str, Any]]
    traceback: str | None


class TaskList(ResponseBody):
    """A page of tasks; ``next_offset`` is where the next one begins, and null on the last."""

    tasks: list[TaskSummary]
    next_offset: int | None


class RetryFailed(RequestBody):
    """Which failed tasks to run again: those of one name, or all."""

    name: TaskName | None = None


class Retried(ResponseBody):
    """How many tasks will run again."""

    retried: int
