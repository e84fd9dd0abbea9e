"""What the page of one incident shows besides what the API tells of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.events import RunAround, read_runs_around
from watcher_server.anomalies.flagged import read_flagged
from watcher_server.database.asking import ask
from watcher_server.incidents.detail import IncidentDetail, read_incident
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.reading import ListedIncident, read_incidents
from watcher_server.incidents.schemas import OutOfRangeResponse
from watcher_server.lineage.impact import count_downstream
from watcher_server.web.anomalies.drawing import Spark, draw_spark

BOX_WIDTH, BOX_HEIGHT = 216, 48
_GAP, _BETWEEN = 14, 56
# The list below the drawing has them all.
_MOST_BOXES = 6


@dataclass(frozen=True, slots=True)
class Box:
    """An incident and the upper left corner of its box; ``is_current`` marks the one whose page it is."""

    incident: ListedIncident
    x: int
    y: int
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """A curve from one box to another; ``perhaps`` says that the one only may be the cause of the other."""

    path: str
    perhaps: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """Causes at the left, effects at the right; those that are not drawn are counted."""

    width: int
    height: int
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    hidden_causes: int
    hidden_effects: int


def draw_graph(
    incident: ListedIncident,
    root: ListedIncident | None,
    perhaps: Sequence[ListedIncident],
    effects: Sequence[ListedIncident],
) -> Graph | None:
    """The incident with its cause, what perhaps is one, and its effects; None without any of these."""
    causes = [*([root] if root else []), *perhaps]
    if not causes and not effects:
        return None
    left, right = causes[:_MOST_BOXES], effects[:_MOST_BOXES]
    height = _column_height(max(len(left), len(right), 1))
    middle = BOX_WIDTH + _BETWEEN if left else 0
    current = Box(incident, middle, (height - BOX_HEIGHT) // 2, is_current=True)
    before = _column(left, 0, height)
    after = _column(right, middle + BOX_WIDTH + _BETWEEN, height)
    arrows = [_arrow(box, current, perhaps=box.incident is not root) for box in before]
    arrows += [_arrow(current, box, perhaps=False) for box in after]
    return Graph(
        width=(after[0].x if after else middle) + BOX_WIDTH,
        height=height,
        boxes=[*before, current, *after],
        arrows=arrows,
        hidden_causes=len(causes) - len(left),
        hidden_effects=incident.effects - len(right),
    )


def _column_height(boxes: int) -> int:
    return boxes * (BOX_HEIGHT + _GAP) - _GAP


def _column(incidents: Sequence[ListedIncident], x: int, height: int) -> list[Box]:
    top = (height - _column_height(len(incidents))) // 2
    return [Box(incident, x, top + place * (BOX_HEIGHT + _GAP)) for place, incident in enumerate(incidents)]


def _arrow(source: Box, target: Box, *, perhaps: bool) -> Arrow:
    # It ends before the box, where the head of the arrow begins.
    start, end = source.x + BOX_WIDTH, target.x - 6
    half = (start + end) // 2
    one, other = source.y + BOX_HEIGHT // 2, target.y + BOX_HEIGHT // 2
    return Arrow(f"M{start} {one}C{half} {one} {half} {other} {end} {other}", perhaps)


CHART_WIDTH, CHART_HEIGHT = 480, 96
# The runs of a chart: up to the newest that is out of range, and some that followed it.
_RUNS_BEFORE, _RUNS_AFTER = 50, 10


@dataclass(frozen=True, slots=True)
class MetricOutOfRange:
    """A metric that is out of range, and its values in the runs around, None where no event has them."""

    metric: OutOfRangeResponse
    chart: Spark | None


@dataclass(frozen=True, slots=True)
class ShownDetail:
    """An incident, whole, with what explains it, how many addresses lie downstream, and its drawings."""

    detail: IncidentDetail
    root: ListedIncident | None
    downstream: int
    graph: Graph | None
    metrics: Sequence[MetricOutOfRange]

    @property
    def incident(self) -> ListedIncident:
        """The incident itself."""
        return self.detail.incident


async def read_detail(session: AsyncSession, incident_id: int) -> ShownDetail:
    """What the page shows. Raises NotFoundError: there is no such incident."""
    detail = await ask(session, read_incident, incident_id)
    incident = detail.incident
    roots = await ask(session, read_incidents, [incident.root_id]) if incident.root_id is not None else []
    root = roots[0] if roots else None
    pipelines = [incident.pipeline_id] if incident.pipeline_id is not None else []
    downstream = await ask(session, count_downstream, pipelines) if pipelines else {}
    is_anomalous = incident.kind == Kind.ANOMALOUS and incident.execution_id is not None
    around = await _read_around(session, incident.execution_id or 0) if is_anomalous else {}
    metrics = []
    for metric in detail.evidence.metrics if is_anomalous else ():
        runs, expected = around.get(metric.metric_field, ()), (metric.lower_bound, metric.upper_bound)
        metrics.append(MetricOutOfRange(metric, draw_spark(runs, expected, width=CHART_WIDTH, height=CHART_HEIGHT)))
    return ShownDetail(
        detail=detail,
        root=root,
        downstream=downstream.get(incident.pipeline_id or 0, 0),
        graph=draw_graph(incident, root, detail.perhaps, detail.effects),
        metrics=metrics,
    )


async def _read_around(session: AsyncSession, execution_id: int) -> Mapping[str, Sequence[RunAround]]:
    """The runs around those that are out of range, by the metric."""
    flagged = await read_flagged(session, [execution_id])
    events = {row.event_id: row.metric_field for row in flagged if row.event_id is not None}
    around = await read_runs_around(session, list(events), before=_RUNS_BEFORE, following=_RUNS_AFTER)
    return {events[event_id]: runs for event_id, runs in around.items()}
