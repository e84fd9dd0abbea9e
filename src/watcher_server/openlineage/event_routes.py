"""Looking at events over HTTP, and having them applied again."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field, StringConstraints, model_validator
from sqlalchemy import Connection

from watcher_server.database.engine import sync_engine
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id, RequestBody, ResponseBody, UtcDatetime
from watcher_server.openlineage.counting import StatusResponse, read_status
from watcher_server.openlineage.inspecting import EventResponse, EventsResponse, State, find_events, read_one
from watcher_server.openlineage.replaying import replay_failed, replay_since, replay_these

Found = TypeVar("Found", EventResponse, EventsResponse)
router = APIRouter(route_class=JsonRoute, prefix="/openlineage", tags=["openlineage"])

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No event that is kept has that id."}}
Wanted = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]


class EventQuery(BaseModel):
    """Which events: what became of them, and of which job (its name, or `namespace/name`) and run."""

    state: State = State.FAILED
    job: Wanted | None = None
    run: Wanted | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 50


class ReplayPost(RequestBody):
    """Which events to apply again: these, all that failed, or all that arrived from a moment on. One of the three."""

    event_ids: Annotated[list[Id], Field(min_length=1, max_length=10_000)] | None = None
    state: Literal["failed"] | None = None
    since: UtcDatetime | None = None

    @model_validator(mode="after")
    def _has_one(self) -> "ReplayPost":
        if sum(value is not None for value in (self.event_ids, self.state, self.since)) != 1:
            raise ValueError('give one of event_ids, "state": "failed" and since')
        return self


class ReplayResponse(ResponseBody):
    """How many events will be applied again, and the ids that no event has."""

    replayed: int
    unknown: list[int]


@router.get("/status")
async def get_status(session: Session) -> StatusResponse:
    """How many events of OpenLineage came, what became of them, and who sent last."""
    return await (await session.connection()).run_sync(read_status)


@router.get("/events")
async def get_events(query: Annotated[EventQuery, Query()]) -> EventsResponse:
    """The newest events that failed, wait or were applied. Secrets in them are masked; long bodies are left out."""
    return await _read(lambda connection: find_events(connection, **vars(query)))


@router.get("/events/{event_id}", responses=_UNKNOWN)
async def get_event(event_id: Annotated[Id, Path()]) -> EventResponse:
    """One event, whole, and why it could not be applied. Secrets in it are masked."""
    return await _read(lambda connection: read_one(connection, event_id))


async def _read(read: Callable[[Connection], Found]) -> Found:
    def in_thread() -> Found:
        with sync_engine().connect() as connection:
            return read(connection)

    # Unpacking thousands of events takes a second.
    return await asyncio.to_thread(in_thread)


@router.post("/replay", status_code=202)
async def post_replay(body: ReplayPost) -> ReplayResponse:
    """Apply events again: those that failed, after what they met was mended, or those that were applied.

    Applying an event twice changes nothing, and what lies long back sends no alerts.
    """
    begin = sync_engine().begin
    if body.event_ids is not None:
        done = await asyncio.to_thread(replay_these, begin, body.event_ids)
    elif body.since is not None:
        done = await asyncio.to_thread(replay_since, begin, body.since)
    else:
        done = await asyncio.to_thread(replay_failed, begin)
    return ReplayResponse(replayed=done.events, unknown=done.unknown)
