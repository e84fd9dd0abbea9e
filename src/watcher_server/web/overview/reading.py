"""What the overview shows: what is wrong, what it touches, and whether workers and queues do their part."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.database.asking import ask
from watcher_server.incidents.reading import (
    IncidentFilter,
    ListedIncident,
    WantedState,
    list_incidents,
    read_incidents,
    read_signs,
)
from watcher_server.kit.listing import Page
from watcher_server.lineage.impact import count_downstream
from watcher_server.pipelines.board import Glance
from watcher_server.pipelines.findings import Finding, read_findings
from watcher_server.pipelines.status import WRONG
from watcher_server.settings import Settings
from watcher_server.tasking.queues.history import QueueHistoryReport as QueueHistory
from watcher_server.tasking.queues.history import read_history
from watcher_server.tasking.workers.service import KnownWorker, WorkerState, list_workers

WRONG_SHOWN = 12
# Of more pipelines in trouble, the worst of these are shown.
MOST_TROUBLED = 200
# What lies below one address is counted up to this number to find out which pipeline touches most.
_MOST_COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class Wrong:
    """A pipeline that needs attention: why, its incident, and how many addresses lie downstream.

    The finding and the incident are None when they were over before they were read.
    """

    pipeline: Glance
    finding: Finding | None
    incident: ListedIncident | None
    downstream: int

    @property
    def error(self) -> str:
        """The first line of what its failed run says of itself."""
        said = (self.finding.error or "").strip() if self.finding else ""
        return said.partition("\n")[0][:300]


@dataclass(frozen=True, slots=True)
class Trouble:
    """The worst of what is wrong; ``causes`` is how many there are that no other of them explains."""

    shown: Sequence[Wrong]
    causes: int


@dataclass(frozen=True, slots=True)
class QueueGlance:
    """One queue: what waits in it now, None when it was not measured, and how that was in the last hours."""

    name: str
    pending: int | None
    level: str
    series: Sequence[int | None]


async def read_trouble(session: AsyncSession, wrong: Sequence[Glance]) -> Trouble:
    """Those of these pipelines that no other of them explains: first what touches most, then the worst, the oldest."""
    signs = await ask(session, read_signs, {each.id: each.status.value for each in wrong})
    known, roots = {each.id for each in wrong}, {id_: sign.root_pipeline_id for id_, sign in signs.items()}
    causes = [each for each in wrong if roots.get(each.id) not in known - {each.id}]
    downstream = await ask(session, count_downstream, [each.id for each in causes], most=_MOST_COUNTED)

    def urgency(pipeline: Glance) -> tuple[int, int, datetime]:
        since = signs[pipeline.id].since if pipeline.id in signs else datetime.max.replace(tzinfo=UTC)
        return -downstream.get(pipeline.id, 0), WRONG.index(pipeline.status), since

    shown = sorted(causes, key=urgency)[:WRONG_SHOWN]
    many = [each.id for each in shown if downstream.get(each.id, 0) >= _MOST_COUNTED]
    if many:
        downstream |= await ask(session, count_downstream, many, most=None)
    ids = [signs[each.id].incident_id for each in shown if each.id in signs]
    incidents = {found.pipeline_id: found for found in await ask(session, read_incidents, ids)}
    findings = await read_findings(session, [each.id for each in shown])
    return Trouble(
        [
            Wrong(each, findings[each.id].get(each.status), incidents.get(each.id), downstream.get(each.id, 0))
            for each in shown
        ],
        len(causes),
    )


async def read_worst_incidents(session: AsyncSession) -> list[ListedIncident]:
    """The most urgent incidents that no other explains."""
    unexplained = IncidentFilter(state=WantedState.LIVE, explained=False)
    return await ask(session, list_incidents, unexplained, Page(limit=8))


async def read_queues(session: AsyncSession, settings: Settings) -> list[QueueGlance]:
    """Each queue as the keeper last measured it; nothing is asked of the broker, which may be away."""
    history = await read_history(session, 3, settings)
    return [_glance(name, history) for name in history.queues]


def _glance(name: str, history: QueueHistory) -> QueueGlance:
    series = history.queues[name].pending
    # The latest point may lie ahead of this minute's sample.
    pending = next((value for value in reversed(series[-3:]) if value is not None), None)
    level = "ok"
    for higher in ("info", "warning", "critical"):
        level = higher if pending is not None and pending >= history.thresholds[higher] else level
    return QueueGlance(name, pending, "unknown" if pending is None else level, series)


async def read_workers(session: AsyncSession) -> list[KnownWorker]:
    """The workers that are alive."""
    return [worker for worker in await ask(session, list_workers) if worker.state == WorkerState.ALIVE]
