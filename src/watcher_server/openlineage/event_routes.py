"""Looking at events over HTTP, and having them applied again."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from watcher_server.database.engine import sync_engine
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id
from watcher_server.openlineage.counting import Status, read_status
from watcher_server.openlineage.event_schemas import (
    EventQuery,
    EventResponse,
    EventsResponse,
    ReplayPost,
    ReplayResponse,
    StatusResponse,
)
from watcher_server.openlineage.inspecting import FoundEvents, SeenEvent, find_events, read_one
from watcher_server.openlineage.replaying import Replayed, replay_failed, replay_since, replay_these

router = APIRouter(route_class=JsonRoute, prefix="/openlineage", tags=["openlineage"])

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No event that is kept has that id."}}


@router.get("/status", response_model=StatusResponse)
async def get_status(session: Session) -> Status:
    """How many events of OpenLineage came, what became of them, and who sent last."""
    connection = await session.connection()
    return await connection.run_sync(read_status)


@router.get("/events", response_model=EventsResponse)
async def get_events(query: Annotated[EventQuery, Query()]) -> FoundEvents:
    """The newest events that failed, wait or were applied. Secrets in them are masked; long bodies are left out."""

    def find() -> FoundEvents:
        with sync_engine().connect() as connection:
            return find_events(connection, query.state, job=query.job, run=query.run, limit=query.limit)

    # In a thread, because unpacking thousands of events takes a second.
    return await asyncio.to_thread(find)


@router.get("/events/{event_id}", response_model=EventResponse, responses=_UNKNOWN)
async def get_event(event_id: Annotated[Id, Path()]) -> SeenEvent:
    """One event, whole, and why it could not be applied. Secrets in it are masked."""

    def find() -> SeenEvent:
        with sync_engine().connect() as connection:
            return read_one(connection, event_id)

    return await asyncio.to_thread(find)


@router.post("/replay", status_code=202, response_model=ReplayResponse)
async def post_replay(body: ReplayPost) -> ReplayResponse:
    """Apply events again: those that failed, after what they met was mended, or those that were applied.

    Applying an event twice changes nothing, and what lies long back sends no alerts.
    """
    done = await asyncio.to_thread(_replay, body)
    return ReplayResponse(replayed=done.events, unknown=done.unknown)


def _replay(body: ReplayPost) -> Replayed:
    begin = sync_engine().begin
    if body.event_ids is not None:
        return replay_these(begin, body.event_ids)
    return replay_failed(begin) if body.since is None else replay_since(begin, body.since)
