"""Incidents over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request

from watcher_server.auth.acting import actor_of
from watcher_server.http.body import JsonRoute
from watcher_server.http.errors import answer_error
from watcher_server.http.session import Session
from watcher_server.incidents.changes import Outcome, change_incident, change_incidents, comment_on
from watcher_server.incidents.detail import Event, read_incident
from watcher_server.incidents.reading import ListedIncident, list_incidents
from watcher_server.incidents.schemas import (
    CommentPost,
    EventResponse,
    IncidentDetailResponse,
    IncidentPatch,
    IncidentQuery,
    IncidentResponse,
    IncidentsPatch,
    OutcomeResponse,
    OutcomesResponse,
    show_whole,
)
from watcher_server.kit.fields import Id
from watcher_server.kit.listing import Page, read_page

router = APIRouter(route_class=JsonRoute, tags=["incidents"])

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No incident has that id."}}


@router.get("/incident", response_model=list[IncidentResponse])
async def get_incidents(
    session: Session, query: Annotated[IncidentQuery, Query()], page: Annotated[Page, Depends(read_page)]
) -> list[ListedIncident]:
    """Every incident: the open ones first, the worst before the others; last the resolved ones, the latest first."""
    connection = await session.connection()
    return await connection.run_sync(list_incidents, query.wanted(), page)


@router.get("/incident/{incident_id}", response_model=IncidentDetailResponse, responses=_UNKNOWN)
async def get_incident(incident_id: Annotated[Id, Path()], session: Session) -> dict[str, Any]:
    """One incident, with what happened to it, what shows it, its causes and effects, and who was told."""
    connection = await session.connection()
    return show_whole(await connection.run_sync(read_incident, incident_id))


@router.patch(
    "/incident/{incident_id}",
    response_model=IncidentResponse,
    responses={**_UNKNOWN, 409: {"description": "It has changed since, or still holds."}},
)
async def patch_incident(
    incident_id: Annotated[Id, Path()], body: IncidentPatch, session: Session, request: Request
) -> ListedIncident:
    """Acknowledge, assign, snooze or resolve an incident, or take that back; 409 when it has changed since.

    What still holds is resolved with `force` only. What is so already changes nothing.
    """
    connection = await session.connection()
    return await connection.run_sync(change_incident, incident_id, body, actor_of(request.scope))


@router.patch("/incident", response_model=OutcomesResponse)
async def patch_incidents(body: IncidentsPatch, session: Session, request: Request) -> OutcomesResponse:
    """Make the same changes to up to 500 incidents: each is done or refused on its own, and the answer says which."""
    connection = await session.connection()
    outcomes = await connection.run_sync(change_incidents, body.ids, body, actor_of(request.scope))
    return OutcomesResponse(
        changed=sum(outcome.error is None for outcome in outcomes), outcomes=[_show(outcome) for outcome in outcomes]
    )


def _show(outcome: Outcome) -> OutcomeResponse:
    if outcome.error is None:
        return OutcomeResponse(id=outcome.id, status=200, detail=None, incident=outcome.incident)
    answer = answer_error(outcome.error)
    status = 500 if answer is None else answer.status_code
    return OutcomeResponse(id=outcome.id, status=status, detail=str(outcome.error), incident=None)


@router.post("/incident/{incident_id}/comment", status_code=201, response_model=EventResponse, responses=_UNKNOWN)
async def post_comment(
    incident_id: Annotated[Id, Path()], body: CommentPost, session: Session, request: Request
) -> Event:
    """Say something about an incident, for those who read its timeline."""
    connection = await session.connection()
    return await connection.run_sync(comment_on, incident_id, body.text, actor_of(request.scope))
