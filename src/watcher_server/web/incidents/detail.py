"""What the page of one incident shows besides what the API tells of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.events import RunAround, read_runs_around
from watcher_server.anomalies.flagged import read_flagged
from watcher_server.incidents.detail import IncidentDetail, OutOfRange, read_incident
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.reading import ListedIncident, read_incidents
from watcher_server.lineage.impact import count_downstream
from watcher_server.web.anomalies.drawing import Spark, draw_spark
from watcher_server.web.incidents.drawing import Graph, draw_graph

CHART_WIDTH, CHART_HEIGHT = 480, 96
# The runs of a chart: up to the newest that is out of range, and some that followed it.
_RUNS_BEFORE, _RUNS_AFTER = 50, 10


@dataclass(frozen=True, slots=True)
class MetricOutOfRange:
    """A metric that is out of range, and its values in the runs around, None where no event has them."""

    metric: OutOfRange
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
    """What the page shows.

    Raises:
        NotFoundError: there is no such incident.
    """
    connection = await session.connection()
    detail, root, downstream = await connection.run_sync(_read, incident_id)
    incident, metrics = detail.incident, detail.evidence.metrics
    is_anomalous = incident.kind == Kind.ANOMALOUS and incident.execution_id is not None
    around = await _read_around(session, incident.execution_id or 0) if is_anomalous else {}
    return ShownDetail(
        detail=detail,
        root=root,
        downstream=downstream,
        graph=draw_graph(incident, root, detail.perhaps, detail.effects),
        metrics=[_draw(metric, around.get(metric.metric_field, ())) for metric in metrics] if is_anomalous else (),
    )


def _read(connection: Connection, incident_id: int) -> tuple[IncidentDetail, ListedIncident | None, int]:
    detail = read_incident(connection, incident_id)
    incident = detail.incident
    roots = read_incidents(connection, [incident.root_id]) if incident.root_id is not None else []
    pipelines = [incident.pipeline_id] if incident.pipeline_id is not None else []
    downstream = count_downstream(connection, pipelines).get(pipelines[0], 0) if pipelines else 0
    return detail, roots[0] if roots else None, downstream


async def _read_around(session: AsyncSession, execution_id: int) -> Mapping[str, Sequence[RunAround]]:
    """The runs around those that are out of range, by the metric."""
    flagged = await read_flagged(session, [execution_id])
    events = {row.event_id: row.metric_field for row in flagged if row.event_id is not None}
    around = await read_runs_around(session, list(events), before=_RUNS_BEFORE, following=_RUNS_AFTER)
    return {events[event_id]: runs for event_id, runs in around.items()}


def _draw(metric: OutOfRange, runs: Sequence[RunAround]) -> MetricOutOfRange:
    expected = (metric.lower_bound, metric.upper_bound)
    return MetricOutOfRange(metric, draw_spark(runs, expected, width=CHART_WIDTH, height=CHART_HEIGHT))
