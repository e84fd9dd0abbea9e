"""Which workers live. Each writes a heartbeat to the database, so asking needs no answer of a worker."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated
from uuid import UUID, uuid4

from pydantic import Field
from sqlalchemy import Connection, delete, func, text, update
from sqlalchemy.dialects.postgresql import insert

from watcher_server.kit.fields import ResponseBody
from watcher_server.tasking.models import Worker
from watcher_server.tasking.wire import ALIVE

_worker_id: UUID | None = None


def become_worker() -> UUID:
    """Give this process, and all that it forks, the id of a new worker."""
    global _worker_id  # noqa: PLW0603 - a process is one worker at most
    _worker_id = uuid4()
    return _worker_id


def worker_id() -> UUID | None:
    """The worker that this process belongs to; None in any other process."""
    return _worker_id


class WorkerState(StrEnum):
    """What became of a worker; one that died was not seen for 30 seconds and did not say that it stops."""

    ALIVE = "alive"
    DIED = "died"
    STOPPED = "stopped"


class WorkerResponse(ResponseBody):
    """A worker and what it last said of itself; one that died was not seen for 30 seconds. Times are UTC.

    ``processes`` is how many tasks it can run at once, ``active`` how many it runs.
    """

    id: UUID
    name: str
    host: str
    pid: int
    state: WorkerState
    queues: list[str]
    processes: int
    active: int
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    metrics_url: str | None


class KnownWorker(WorkerResponse):
    """As above, with the seconds since it was last seen, by the database's clock. JSON leaves them out."""

    seen_seconds: Annotated[float, Field(exclude=True)]


def beat_worker(
    connection: Connection,
    worker_id: UUID,
    *,
    name: str,
    host: str,
    pid: int,
    queues: Sequence[str],
    processes: int,
    active: int = 0,
    metrics_url: str | None = None,
) -> None:
    """Say that a worker lives, and how many tasks it runs in how many processes.

    A row that is missing is written: at the worker's start, and after the database was emptied or restored. A worker
    that has stopped stays stopped.
    """
    now = {"active": active, "processes": processes, "queues": list(queues), "metrics_url": metrics_url}
    new = insert(Worker).values(id=worker_id, name=name, host=host, pid=pid, **now)
    seen = new.on_conflict_do_update(index_elements=[Worker.id], set_={"seen_at": func.now(), **now})
    connection.execute(seen)


def forget_workers(connection: Connection) -> None:
    """Delete the workers that were not seen for 90 days."""
    # Failed tasks are kept as long by default, and name the worker that ran them.
    connection.execute(delete(Worker).where(Worker.seen_at < func.now() - timedelta(days=90)))


def stop_worker(connection: Connection, worker_id: UUID) -> None:
    """Say that a worker stops, and holds no task any more."""
    connection.execute(
        update(Worker).where(Worker.id == worker_id).values(stopped_at=func.now(), seen_at=func.now(), active=0)
    )


# The table has a row per start of a worker: it needs no index but its key.
_LIST = f"""
SELECT id, name, host, pid, queues, processes, active, started_at, seen_at, stopped_at, metrics_url,
    CASE WHEN stopped_at IS NOT NULL THEN 'stopped' WHEN {ALIVE} THEN 'alive' ELSE 'died' END AS state,
    greatest(0, extract(epoch FROM now() - seen_at))::float8 AS seen_seconds
FROM worker
WHERE {ALIVE} OR seen_at > now() - :since
ORDER BY {ALIVE} DESC, name, started_at DESC
"""  # noqa: S608 - the condition is a constant


def list_workers(connection: Connection, since: timedelta = timedelta(hours=1)) -> list[KnownWorker]:
    """The workers that live, then those that stopped or died within ``since``; by name, the last started first."""
    return [KnownWorker(**row) for row in connection.execute(text(_LIST), {"since": since}).mappings()]


def count_active_workers(connection: Connection) -> int:
    return connection.scalar(text(f"SELECT count(*) FROM worker WHERE {ALIVE}")) or 0  # noqa: S608 - a constant


def list_served_queues(connection: Connection) -> Sequence[list[str]]:
    """The queues of each worker that lives."""
    return connection.scalars(text(f"SELECT queues FROM worker WHERE {ALIVE}")).all()  # noqa: S608 - a constant
