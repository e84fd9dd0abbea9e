"""What people say of an event: that it was nothing, or that it is the new normal."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.corrections import accept_new_normal, unflag_anomaly
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyEvent
from watcher_server.anomalies.schemas import AcceptNewNormal, Unflag
from watcher_server.executions.models import PipelineExecution
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.configuration import find
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.fields import Id
from watcher_server.web.pages import back_to, publish_change

router = APIRouter(route_class=JsonRoute, include_in_schema=False)

EventId = Annotated[Id, Path()]


@router.post("/ui/anomalies/{event_id}/accept")
async def accept_event(request: Request, session: Session, event_id: EventId) -> Response:
    """Have the rule learn anew from the first run of the event on."""
    event = await find(session, AnomalyEvent, event_id)
    await accept_new_normal(
        session,
        AcceptNewNormal(
            pipeline_id=event.pipeline_id,
            pipeline_execution_id=event.first_execution_id,
            metric_field=[event.metric_field],
        ),
    )
    await publish_change(request, session)
    return _back(request)


@router.post("/ui/anomalies/{event_id}/unflag")
async def unflag_event(
    request: Request, session: Session, event_id: EventId, execution_id: Annotated[Id | None, Form()] = None
) -> Response:
    """Clear the flags of all runs of the event, or of one."""
    event = await find(session, AnomalyEvent, event_id)
    flagged = [execution_id] if execution_id is not None else await _lock_runs(session, event)
    if not flagged:
        raise NotFoundError("The runs of this event are no longer kept, so there is no flag to clear.")
    for run in flagged:
        await unflag_anomaly(
            session,
            Unflag(pipeline_id=event.pipeline_id, pipeline_execution_id=run, metric_field=[event.metric_field]),
        )
    await publish_change(request, session)
    return _back(request)


async def _lock_runs(session: AsyncSession, event: AnomalyEvent) -> list[int]:
    """The runs of the event, all locked before the first rule is: a judgement locks its run and then the rules."""
    run, result = PipelineExecution, AnomalyDetectionResult
    statement = (
        select(run.id)
        .where(run.id.in_(select(result.pipeline_execution_id).where(result.event_id == event.id)))
        .order_by(run.id)
        .with_for_update(key_share=True)
    )
    return list((await session.scalars(statement)).all())


def _back(request: Request) -> Response:
    """To the page as it was: the address of a form carries the page's own query."""
    query = request.url.query
    return back_to(request, f"/ui/anomalies?{query}" if query else "/ui/anomalies")
