"""What the overview shows: what is wrong, what it touches, and whether workers and queues do their part."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.incidents.reading import IncidentFilter, ListedIncident, WantedState, list_incidents
from watcher_server.kit.listing import Page
from watcher_server.lineage.impact import count_downstream
from watcher_server.pipelines.board import Glance
from watcher_server.pipelines.findings import Finding, read_findings
from watcher_server.settings import Settings
from watcher_server.tasking.queues.history import QueueHistoryReport as QueueHistory
from watcher_server.tasking.queues.history import read_history
from watcher_server.tasking.workers.service import KnownWorker, WorkerState, list_workers

WRONG_SHOWN = 12
# Of more pipelines in trouble, the worst are looked for on the timeline.
MOST_TROUBLED = 200
_QUEUE_HOURS = 3
_INCIDENTS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Wrong:
    """A pipeline that needs attention: why, since when, and how many addresses lie downstream.

    The finding is None when it was over before it was read.
    """

    pipeline: Glance
    finding: Finding | None
    downstream: int


@dataclass(frozen=True, slots=True)
class QueueGlance:
    """One queue: what waits in it now, None when it was not measured, and how that was in the last hours."""

    name: str
    pending: int | None
    level: str
    series: Sequence[int | None]


async def describe_wrong(session: AsyncSession, pipelines: Sequence[Glance]) -> list[Wrong]:
    """Each of these with its finding and its reach."""
    ids = [pipeline.id for pipeline in pipelines]
    findings = await read_findings(session, ids)
    connection = await session.connection()
    downstream = await connection.run_sync(count_downstream, ids)
    return [Wrong(each, findings[each.id].get(each.status), downstream.get(each.id, 0)) for each in pipelines]


async def read_worst_incidents(session: AsyncSession) -> list[ListedIncident]:
    """The most urgent incidents that no other explains."""
    connection = await session.connection()
    unexplained = IncidentFilter(state=WantedState.LIVE, explained=False)
    return await connection.run_sync(list_incidents, unexplained, Page(limit=_INCIDENTS_SHOWN))


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
    """The workers that are alive."""
    connection = await session.connection()
    return [worker for worker in await connection.run_sync(list_workers) if worker.state == WorkerState.ALIVE]
