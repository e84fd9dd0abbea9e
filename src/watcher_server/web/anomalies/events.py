"""Which events there are, newest first."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyDetectionRule, AnomalyEvent
from watcher_server.kit.listing import contains
from watcher_server.pipelines.models import Pipeline
from watcher_server.web.anomalies.query import AnomaliesView, EventState
from watcher_server.web.paging import PAGE_SIZE

# With the name of its pipeline, and how many runs its rule needs.
FoundEvent = Row[AnomalyEvent, str, int]


def conditions(view: AnomaliesView) -> list[ColumnElement[bool]]:
    """What holds of the events that are shown."""
    event = AnomalyEvent
    since, until = view.span()
    holding = [event.last_at >= since, event.last_at < until]
    if view.state is not EventState.ALL:
        accepted = event.accepted_at.is_not(None)
        holding.append(accepted if view.state is EventState.ACCEPTED else ~accepted)
    if view.metric is not None:
        holding.append(event.metric_field == view.metric.value)
    if view.direction is not None:
        holding.append(event.direction == view.direction)
    if view.pipeline is not None:
        # Nested, so that a few pipelines are looked up by the index of theirs.
        named = select(Pipeline.id).where(Pipeline.name.like(contains(view.pipeline)))
        holding.append(event.pipeline_id.in_(named))
    return holding


async def find_events(session: AsyncSession, view: AnomaliesView) -> tuple[Sequence[FoundEvent], bool]:
    """One page of events with the names of their pipelines, and whether others follow.

    By ix_anomaly_event_last_at backwards; of a few pipelines by ix_anomaly_event_pipeline_id_last_at.
    """
    event, rule = AnomalyEvent, AnomalyDetectionRule
    statement = (
        select(event, Pipeline.name.label("pipeline_name"), rule.minimum_executions)
        .join(Pipeline, Pipeline.id == event.pipeline_id)
        .join(rule, rule.id == event.rule_id)
        .where(*conditions(view))
        .order_by(event.last_at.desc(), event.id.desc())
        .limit(PAGE_SIZE + 1)
        .offset((view.page - 1) * PAGE_SIZE)
    )
    rows = (await session.execute(statement)).all()
    return rows[:PAGE_SIZE], len(rows) > PAGE_SIZE
