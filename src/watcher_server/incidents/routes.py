"""Incidents over HTTP, who would be told of one, and a look at the queues at once."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request

from watcher_server.alerts.levels import Level
from watcher_server.alerts.routing.schemas import Explanation
from watcher_server.auth.acting import actor_of
from watcher_server.database.asking import ask
from watcher_server.database.names import KnownObjectName
from watcher_server.http.body import JsonRoute
from watcher_server.http.errors import answer_error
from watcher_server.http.session import Session
from watcher_server.incidents import schemas
from watcher_server.incidents.changes import Outcome, change_incident, change_incidents, comment_on
from watcher_server.incidents.detail import read_incident
from watcher_server.incidents.explaining import explain_incident
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.queues import raise_queue_alerts
from watcher_server.incidents.reading import ListedIncident, list_incidents
from watcher_server.kit.fields import Id, UtcDatetime
from watcher_server.kit.listing import Page, read_page
from watcher_server.tasking.queues.depths import measure_queues_async
from watcher_server.tasking.queues.reports import QueueReport, report_queues

router = APIRouter(route_class=JsonRoute, tags=["incidents"])
explain_router = APIRouter(route_class=JsonRoute, prefix="/alerting", tags=["alerting"])
queue_check_router = APIRouter(route_class=JsonRoute, tags=["queues"])

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No incident has that id."}}


@router.get("/incident", response_model=list[schemas.IncidentResponse])
async def get_incidents(
    session: Session, query: Annotated[schemas.IncidentQuery, Query()], page: Annotated[Page, Depends(read_page)]
) -> list[ListedIncident]:
    """Every incident: the open ones first, the worst before the others; last the resolved ones, the latest first."""
    return await ask(session, list_incidents, query.wanted(), page)


@router.get("/incident/{incident_id}", response_model=schemas.IncidentDetailResponse, responses=_UNKNOWN)
async def get_incident(incident_id: Annotated[Id, Path()], session: Session) -> dict[str, Any]:
    """One incident, with what happened to it, what shows it, its causes and effects, and who was told."""
    return (await ask(session, read_incident, incident_id)).as_answer()


@router.patch(
    "/incident/{incident_id}",
    response_model=schemas.IncidentResponse,
    responses={**_UNKNOWN, 409: {"description": "It has changed since, or still holds."}},
)
async def patch_incident(
    incident_id: Annotated[Id, Path()], body: schemas.IncidentPatch, session: Session, request: Request
) -> ListedIncident:
    """Acknowledge, assign, snooze or resolve an incident, or take that back; 409 when it has changed since.

    What still holds is resolved with `force` only. What is so already changes nothing.
    """
    return await ask(session, change_incident, incident_id, body, actor_of(request.scope))


@router.patch("/incident", response_model=schemas.OutcomesResponse)
async def patch_incidents(body: schemas.IncidentsPatch, session: Session, request: Request) -> schemas.OutcomesResponse:
    """Make the same changes to up to 500 incidents: each is done or refused on its own, and the answer says which."""
    outcomes = await ask(session, change_incidents, body.ids, body, actor_of(request.scope))
    return schemas.OutcomesResponse(
        changed=sum(outcome.error is None for outcome in outcomes), outcomes=[_show(outcome) for outcome in outcomes]
    )


def _show(outcome: Outcome) -> schemas.OutcomeResponse:
    if outcome.error is None:
        return schemas.OutcomeResponse(id=outcome.id, status=200, detail=None, incident=outcome.incident)
    answer = answer_error(outcome.error)
    status = 500 if answer is None else answer.status_code
    return schemas.OutcomeResponse(id=outcome.id, status=status, detail=str(outcome.error), incident=None)


@router.post(
    "/incident/{incident_id}/comment", status_code=201, response_model=schemas.EventResponse, responses=_UNKNOWN
)
async def post_comment(
    incident_id: Annotated[Id, Path()], body: schemas.CommentPost, session: Session, request: Request
) -> schemas.EventResponse:
    """Say something about an incident, for those who read its timeline."""
    return await ask(session, comment_on, incident_id, body.text, actor_of(request.scope))


@explain_router.get("/explain", responses={404: {"description": "No pipeline has that name or id."}})
async def get_explanation(
    session: Session,
    kind: Kind,
    pipeline: Annotated[KnownObjectName | None, Query()] = None,
    level: Level | None = None,
    at: Annotated[UtcDatetime | None, Query()] = None,
) -> Explanation:
    """Who would be told of such an incident of a pipeline (its name or id): each route, and why or why not.

    A moment without a zone is UTC; without a moment it is now.
    """
    return await ask(session, explain_incident, kind=kind, pipeline=pipeline, level=level, at=at)


@queue_check_router.post("/celery/monitor-queue")
async def monitor_queue(request: Request) -> QueueReport:
    """What waits in the queues; alerts as the scheduled check does when that is too much."""
    engine, settings = request.app.state.query_engine, request.app.state.settings
    state = await measure_queues_async(engine, settings)
    async with engine.begin() as connection:
        await connection.run_sync(raise_queue_alerts, state, settings)
    return report_queues(state, settings)
