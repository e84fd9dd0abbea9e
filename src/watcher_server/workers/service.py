"""Workers say that they live; who lives is read here, without asking any of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, delete, func, text, update
from sqlalchemy.dialects.postgresql import insert

from watcher_server.workers.models import Worker

# A worker that was not seen for six heartbeats has died. For any statement that reads ``worker``.
ALIVE = "worker.stopped_at IS NULL AND worker.seen_at > now() - interval '30 seconds'"

_LISTED = timedelta(hours=1)
# As long as failed tasks are kept by default: they name the worker that ran them.
_REMEMBERED = timedelta(days=90)


class WorkerState(StrEnum):
    """What became of a worker; one that died was not seen for 30 seconds and did not say that it stops."""

    ALIVE = "alive"
    DIED = "died"
    STOPPED = "stopped"


@dataclass(frozen=True)
class KnownWorker:
    """A worker and what it last said of itself.

    ``processes`` is how many tasks it can run at once, ``active`` how many it runs. ``seen_seconds`` is how long ago
    it was last seen. Times are UTC.
    """

    id: UUID
    name: str
    host: str
    pid: int
    queues: Sequence[str]
    processes: int
    active: int
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    metrics_url: str | None
    state: WorkerState
    seen_seconds: float


def register_worker(
    connection: Connection,
    worker_id: UUID,
    *,
    name: str,
    host: str,
    pid: int,
    queues: Sequence[str],
    processes: int,
    metrics_url: str | None = None,
) -> None:
    """Say that a worker has started; workers that were not seen for 90 days are forgotten."""
    connection.execute(delete(Worker).where(Worker.seen_at < func.now() - _REMEMBERED))
    beat_worker(
        connection,
        worker_id,
        active=0,
        processes=processes,
        name=name,
        host=host,
        pid=pid,
        queues=queues,
        metrics_url=metrics_url,
    )


def beat_worker(
    connection: Connection,
    worker_id: UUID,
    active: int,
    processes: int,
    *,
    name: str,
    host: str,
    pid: int,
    queues: Sequence[str],
    metrics_url: str | None = None,
) -> None:
    """Say that a worker lives, and how many tasks it runs in how many processes.

    A row that is missing, because the database was emptied or restored, is written anew. One that has stopped
    stays stopped.
    """
    now = {"active": active, "processes": processes, "queues": list(queues), "metrics_url": metrics_url}
    new = insert(Worker).values(id=worker_id, name=name, host=host, pid=pid, **now)
    connection.execute(
        new.on_conflict_do_update(index_elements=[Worker.id], set_={"seen_at": func.now(), **now}),
    )


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

_COUNT = f"SELECT count(*) FROM worker WHERE {ALIVE}"  # noqa: S608 - the condition is a constant

_COUNT_BY_QUEUE = f"""
SELECT queue, count(*) AS number FROM worker CROSS JOIN unnest(queues) AS served (queue) WHERE {ALIVE} GROUP BY queue
"""  # noqa: S608 - the condition is a constant


def list_workers(connection: Connection, since: timedelta = _LISTED) -> list[KnownWorker]:
    """The workers that live, then those that stopped or died within ``since``; by name, the last started first."""
    rows = connection.execute(text(_LIST), {"since": since}).mappings()
    return [KnownWorker(**{**row, "state": WorkerState(row["state"])}) for row in rows]


def count_active_workers(connection: Connection) -> int:
    """How many workers live."""
    return connection.scalar(text(_COUNT)) or 0


def count_active_workers_by_queue(connection: Connection) -> dict[str, int]:
    """How many living workers serve each queue; queues that none serves are left out."""
    return {row.queue: row.number for row in connection.execute(text(_COUNT_BY_QUEUE))}
