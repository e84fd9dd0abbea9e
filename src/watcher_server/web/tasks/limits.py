"""The rate limits in force, and changing them for a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field
from sqlalchemy import Connection

from watcher_server.queue_monitor.depths import QueueState
from watcher_server.rate_limits.service import TaskLimit, limit_text, list_limits
from watcher_server.settings import RateLimit, Settings
from watcher_server.task_history.schemas import TaskName

# Minutes for which a limit is changed, as the form offers them.
DURATIONS = ((15, "15 minutes"), (60, "1 hour"), (240, "4 hours"), (1440, "1 day"))
_MOST_MINUTES = 1440


class LimitChange(BaseModel):
    """What the form sends: a limit such as ``100/s`` or ``none``, for so many minutes."""

    task: TaskName
    limit: RateLimit
    minutes: Annotated[int, Field(ge=1, le=_MOST_MINUTES)] = 60


@dataclass(frozen=True)
class LimitRow:
    """A task's limit as it holds and as it is configured; ``until`` (UTC) is when the configured one holds again.

    ``pending`` are the tasks that wait, ``out_per_minute`` those that ended in the last minute; None when not known.
    """

    task: str
    in_force: str
    configured: str
    until: datetime | None
    pending: int | None
    out_per_minute: int | None


def read_limits(connection: Connection, settings: Settings, queues: QueueState | None) -> Sequence[LimitRow]:
    """Every task that can have a limit, with what waits for it."""
    return [_row(limit, queues) for limit in list_limits(connection, settings)]


def _row(limit: TaskLimit, queues: QueueState | None) -> LimitRow:
    load = None if queues is None else queues.tasks.get(limit.task)
    nothing = None if queues is None else 0
    return LimitRow(
        task=limit.task,
        in_force=limit_text(limit.in_force),
        configured=limit_text(limit.configured),
        until=limit.until,
        pending=nothing if load is None else load.pending,
        out_per_minute=nothing if load is None else load.out_per_minute,
    )
