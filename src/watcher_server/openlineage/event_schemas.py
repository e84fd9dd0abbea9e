"""The HTTP shapes of looking at events and of applying them again."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from watcher_server.kit.fields import Id, RequestBody, ResponseBody, UtcDatetime
from watcher_server.openlineage.envelope import EventKind
from watcher_server.openlineage.inspecting import State

Wanted = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]


class ProducerResponse(ResponseBody):
    """Who sends: a tool in a namespace, how many of its events were looked at, and when the last one was."""

    producer: str
    version: str | None
    namespace: str
    integration: str
    events: int
    last: datetime


class StatusResponse(ResponseBody):
    """What became of all events.

    `repeated` ones said nothing new, `ignored` ones are of jobs that `WATCHER_OPENLINEAGE_IGNORE` names.
    """

    received: int
    applied: int
    repeated: int
    ignored: int
    waiting: int
    oldest_waiting_seconds: float | None
    failed: int
    last_received_at: datetime | None
    producers: list[ProducerResponse]


class EventResponse(ResponseBody):
    """An event, with its secrets masked.

    In a list, `body` is null for a long one. `unreadable` says why a body cannot be read.
    """

    id: int
    state: State
    received_at: datetime
    applied_at: datetime | None
    failed_at: datetime | None
    namespace: str
    error: str | None
    kind: EventKind | None
    event_type: str | None
    event_time: datetime | None
    job: str | None
    run_id: str | None
    bytes: int | None
    body: Any
    unreadable: str | None


class EventsResponse(ResponseBody):
    """Events, the newest first; `complete` is false where older ones were not looked at."""

    events: list[EventResponse]
    complete: bool


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
