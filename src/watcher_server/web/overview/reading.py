"""What the overview shows: what is wrong, what it touches, and who watches."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.models import Alert
from watcher_server.lineage.impact import count_downstream
from watcher_server.pipelines.board import BoardRow, BoardView
from watcher_server.pipelines.troubles import Trouble, find_troubles
from watcher_server.queue_monitor.history import QueueHistory, read_history
from watcher_server.settings import Settings
from watcher_server.workers.service import KnownWorker, WorkerState, list_workers

_ALERTS_SHOWN = 8
_TROUBLES_SHOWN = 12
_QUEUE_HOURS = 3
# Worst first; what runs, or is well, needs nobody.
ATTENTION = ("failed", "missed", "overdue", "late", "stale", "anomalous")
RANK = {word: rank for rank, word in enumerate(ATTENTION)}


@dataclass(frozen=True, slots=True)
class Wrong:
    """A pipeline that needs somebody: what is the matter, since when, and how many addresses lie downstream."""

    pipeline: BoardRow
    trouble: Trouble | None
    downstream: int


@dataclass(frozen=True, slots=True)
class QueueGlance:
    """One queue: what waits in it now, None when nobody knows, and how that was in the last hours."""

    name: str
    pending: int | None
    level: str
    series: Sequence[int | None]


def needing_attention(view: BoardView) -> list[BoardRow]:
    """The active pipelines with which something is wrong, the worst first, then by name."""
    wrong = [row for row in view.rows if row.active and row.status in ATTENTION]
    return sorted(wrong, key=lambda row: (RANK[row.status], row.name))


async def describe_wrong(session: AsyncSession, rows: Sequence[BoardRow]) -> list[Wrong]:
    """The first of these, with what is known of each."""
    shown = rows[:_TROUBLES_SHOWN]
    ids = [row.id for row in shown]
    troubles = await find_troubles(session, ids)
    connection = await session.connection()
    downstream = await connection.run_sync(count_downstream, ids)
    return [Wrong(row, troubles.get(row.id, {}).get(row.status), downstream.get(row.id, 0)) for row in shown]


async def read_latest_alerts(session: AsyncSession) -> Sequence[Alert]:
    """The newest alerts, newest first, by the primary key."""
    return (await session.scalars(select(Alert).order_by(Alert.id.desc()).limit(_ALERTS_SHOWN))).all()


async def read_queues(session: AsyncSession, settings: Settings) -> list[QueueGlance]:
    """Each queue as the keeper last measured it; nothing is asked of the broker, which may be away."""
    history = await read_history(session, _QUEUE_HOURS, settings)
    return [_glance(name, history) for name in history.queues]


def _glance(name: str, history: QueueHistory) -> QueueGlance:
    series = history.queues[name].pending
    # The latest point may lie ahead of this minute's sample.
    pending = next((value for value in reversed(series[-3:]) if value is not None), None)
    return QueueGlance(name, pending, _level(pending, history), series)


def _level(pending: int | None, history: QueueHistory) -> str:
    if pending is None:
        return "unknown"
    reached = [level for level in ("critical", "warning", "info") if pending >= history.thresholds[level]]
    return reached[0] if reached else "ok"


async def read_workers(session: AsyncSession) -> list[KnownWorker]:
    """The workers that live."""
    connection = await session.connection()
    return [worker for worker in await connection.run_sync(list_workers) if worker.state == WorkerState.ALIVE]
