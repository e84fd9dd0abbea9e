"""Channels, routes, calendars and windows over HTTP."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from fastapi import APIRouter, Body, Path, Request, Response
from fastapi.exceptions import HTTPException
from pydantic import Field, model_validator

from watcher_server.alerts.config import answers, service
from watcher_server.alerts.config.answers import ChannelResponse, ObjectResponse, RouteResponse, WindowResponse
from watcher_server.alerts.config.channel_types import GivenChannel
from watcher_server.alerts.config.fields import ObjectName
from watcher_server.alerts.config.schemas import DEFAULT, CalendarSpec, RouteSpec, WindowSpec
from watcher_server.alerts.config.store import ObjectKind, read_objects
from watcher_server.alerts.models import AlertingObject
from watcher_server.auth.access import may_administer
from watcher_server.auth.acting import actor_of
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.http.state import app_state

router = APIRouter(route_class=JsonRoute, prefix="/alerting", tags=["alerting"])

Name = Annotated[ObjectName, Path()]
Responses = dict[int | str, dict[str, Any]]
_UNKNOWN: Responses = {404: {"description": "Nothing has that name."}}
_FROM_FILE: Responses = {409: {"description": "It comes from a file, or something refers to it."}}
_MADE: Responses = {201: {"description": "It was made."}, **_FROM_FILE}


class RoutePut(RouteSpec):
    """A route, and the route ``before`` which it is asked; without it stays where it is, a new one last."""

    before: ObjectName | None = None

    def route(self) -> RouteSpec:
        """The route alone."""
        return RouteSpec.model_validate(self.model_dump(by_alias=True, exclude_unset=True, exclude={"before"}))


class WindowPost(WindowSpec):
    """A window, from now for some ``minutes`` where it says nothing else. Without a name it is given one."""

    name: ObjectName | None = None
    minutes: Annotated[int, Field(ge=1, le=service.LONGEST_QUIET // timedelta(minutes=1))] | None = None

    @model_validator(mode="after")
    def _check_minutes(self) -> Self:
        if self.minutes is not None and (self.until is not None or self.cron):
            raise ValueError("give either minutes, or until, or cron and duration")
        return self

    def window(self) -> WindowSpec:
        """The window alone, with its end."""
        given = self.model_dump(by_alias=True, exclude_unset=True, exclude={"name", "minutes"})
        if self.minutes is not None:
            given["until"] = (self.since or datetime.now(UTC)) + timedelta(minutes=self.minutes)
        return WindowSpec.model_validate(given)


@router.get("/channels")
async def list_channels(session: Session) -> Sequence[ChannelResponse]:
    """Where alerts can go, and how that goes: the channel of the settings first, the others by name."""
    return await answers.list_channels(session)


@router.get("/channels/{name}", responses=_UNKNOWN)
async def get_channel(name: Name, session: Session) -> ChannelResponse:
    """One channel."""
    if name == DEFAULT:
        return (await answers.list_channels(session))[0]
    channel = await service.get_channel(session, name)
    return answers.show_channel(channel, (await answers.count_waiting(session))[name])


@router.put("/channels/{name}", responses=_MADE)
async def put_channel(
    name: Name, body: Annotated[GivenChannel, Body()], session: Session, request: Request, response: Response
) -> ChannelResponse:
    """Make a channel, or change it as a whole. A secret is given as such once, and then as `{"stored": true}`."""
    _, created = await service.put_channel(session, name, body, app_state(request).settings)
    response.status_code = 201 if created else 200
    return await get_channel(name, session)


@router.delete("/channels/{name}", status_code=204, responses={**_UNKNOWN, **_FROM_FILE})
async def delete_channel(name: Name, session: Session, request: Request) -> None:
    """Remove a channel that no route names; what waits for it goes to the channel of the settings."""
    await service.delete_channel(session, name)
    request.app.state.relay.wake()


@router.get("/routes", response_model=list[RouteResponse])
async def list_routes(session: Session) -> Sequence[AlertingObject]:
    """The routes in the order in which they are asked. The last, `default`, takes what no other did."""
    return await service.list_routes(session)


@router.get("/routes/{name}", response_model=RouteResponse, responses=_UNKNOWN)
async def get_route(name: Name, session: Session) -> AlertingObject:
    """One route."""
    return await service.get_object(session, ObjectKind.ROUTE, name)


@router.put("/routes/{name}", response_model=RouteResponse, responses=_MADE)
async def put_route(name: Name, body: RoutePut, session: Session, response: Response) -> AlertingObject:
    """Make a route, or change it as a whole."""
    route, created = await service.put_route(session, name, body.route(), body.before)
    response.status_code = 201 if created else 200
    return route


@router.delete("/routes/{name}", status_code=204, responses={**_UNKNOWN, **_FROM_FILE})
async def delete_route(name: Name, session: Session) -> None:
    """Remove a route; the one called `default` stays."""
    await service.delete_object(session, ObjectKind.ROUTE, name)


@router.get("/calendars", response_model=list[ObjectResponse])
async def list_calendars(session: Session) -> Sequence[AlertingObject]:
    """The calendars that routes may name, by name."""
    return await read_objects(session, ObjectKind.CALENDAR)


@router.get("/calendars/{name}", response_model=ObjectResponse, responses=_UNKNOWN)
async def get_calendar(name: Name, session: Session) -> AlertingObject:
    """One calendar."""
    return await service.get_object(session, ObjectKind.CALENDAR, name)


@router.put("/calendars/{name}", response_model=ObjectResponse, responses=_MADE)
async def put_calendar(name: Name, body: CalendarSpec, session: Session, response: Response) -> AlertingObject:
    """Make a calendar, or change it as a whole."""
    calendar, created = await service.put_object(session, ObjectKind.CALENDAR, name, body)
    response.status_code = 201 if created else 200
    return calendar


@router.delete("/calendars/{name}", status_code=204, responses={**_UNKNOWN, **_FROM_FILE})
async def delete_calendar(name: Name, session: Session) -> None:
    """Remove a calendar that no route names."""
    await service.delete_object(session, ObjectKind.CALENDAR, name)


@router.get("/windows")
async def list_windows(session: Session) -> Sequence[WindowResponse]:
    """Maintenance windows and mutes by name. Those that are over are kept for 30 days."""
    return [answers.show_window(row) for row in await read_objects(session, ObjectKind.WINDOW)]


@router.get("/windows/{name}", responses=_UNKNOWN)
async def get_window(name: Name, session: Session) -> WindowResponse:
    """One window."""
    return answers.show_window(await service.get_object(session, ObjectKind.WINDOW, name))


@router.post("/windows", status_code=201, responses=_FROM_FILE)
async def post_window(body: WindowPost, session: Session, request: Request) -> WindowResponse:
    """Quieten what matches, such as `{"match": {"pipeline": "orders *"}, "minutes": 30}` for a deployment.

    The scope `write` is enough for what ends within a year; what comes again, or does not end, is for `admin`.
    """
    window = body.window()
    if service.is_for_administrators(window) and not may_administer(request):
        raise HTTPException(403, service.FOR_ADMINISTRATORS)
    return answers.show_window(await service.add_window(session, body.name, window, actor_of(request.scope)))


@router.post("/windows/{name}/end", responses={**_UNKNOWN, **_FROM_FILE})
async def end_window(name: Name, session: Session) -> WindowResponse:
    """End a window that happens once, now; the scope `write` is enough."""
    return answers.show_window(await service.end_window(session, name))


@router.put("/windows/{name}", responses=_MADE)
async def put_window(name: Name, body: WindowSpec, session: Session, response: Response) -> WindowResponse:
    """Make a window, or change it as a whole."""
    window, created = await service.put_object(session, ObjectKind.WINDOW, name, body)
    response.status_code = 201 if created else 200
    return answers.show_window(window)


@router.delete("/windows/{name}", status_code=204, responses={**_UNKNOWN, **_FROM_FILE})
async def delete_window(name: Name, session: Session) -> None:
    """Remove a window."""
    await service.delete_object(session, ObjectKind.WINDOW, name)
