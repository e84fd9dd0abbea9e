"""The answers about channels, routes, calendars and windows over HTTP."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config.schemas import DEFAULT, WindowSpec
from watcher_server.alerts.config.store import read_channels
from watcher_server.alerts.models import AlertingObject, Channel, Notification
from watcher_server.alerts.routing.windows import next_span, span_at
from watcher_server.kit.fields import ResponseBody

ChannelState = Literal["unused", "ok", "failing", "gone"]


class ObjectResponse(ResponseBody):
    """An object: ``spec`` is what a PUT takes. With an ``origin`` it comes from that file and is changed there."""

    name: str
    origin: str | None
    updated_at: datetime | None
    spec: dict[str, Any]


class RouteResponse(ObjectResponse):
    """A route; those with a lower ``position`` are asked first."""

    position: int


class WindowResponse(ObjectResponse):
    """A window. ``state`` is now, next or over; times are UTC: of the span that goes on, or else of the next one.

    ``ends_at`` is null for one that does not end by itself.
    """

    state: Literal["now", "next", "over"]
    begins_at: datetime | None
    ends_at: datetime | None


class ChannelResponse(ObjectResponse):
    """A channel, and how its deliveries go.

    ``state``: unused, ok, failing (the latest delivery failed), or gone (the other side does not know it any more).
    Secrets are never shown: ``spec`` says where each is, or that it is stored.
    """

    type: str
    state: ChannelState
    failing_since: datetime | None
    paused_until: datetime | None
    last_sent_at: datetime | None
    last_error: str | None
    waiting: Annotated[int, Field(description="Messages that wait for it.")]


def state_of(channel: Channel) -> ChannelState:
    """How the deliveries to a channel go."""
    if channel.gone:
        return "gone"
    if channel.failures:
        return "failing"
    return "ok" if channel.last_sent_at else "unused"


def show_channel(channel: Channel, waiting: int) -> ChannelResponse:
    """A channel as an answer."""
    return ChannelResponse(
        **{name: getattr(channel, name) for name in ("name", "origin", "updated_at", "type", "failing_since")},
        **{name: getattr(channel, name) for name in ("paused_until", "last_sent_at", "last_error")},
        spec=channel.spec or {"type": channel.type},
        state=state_of(channel),
        waiting=waiting,
    )


async def list_channels(session: AsyncSession) -> Sequence[ChannelResponse]:
    """The channel of the settings, then the others by name."""
    unused = Channel(name=DEFAULT, type=DEFAULT, spec={}, failures=0, gone=False)
    default = await session.get(Channel, DEFAULT) or unused
    waiting = await count_waiting(session)
    channels = [default, *await read_channels(session)]
    return [show_channel(channel, waiting[channel.name]) for channel in channels]


async def count_waiting(session: AsyncSession) -> Counter[str]:
    """How many messages wait for each channel, by ix_notification_waiting."""
    statement = (
        select(Notification.channel, func.count())
        .where(Notification.state.in_(("waiting", "sending")))
        .group_by(Notification.channel)
    )
    return Counter({row[0]: row[1] for row in await session.execute(statement)})


def show_window(row: AlertingObject, now: datetime | None = None) -> WindowResponse:
    """A window as an answer."""
    window, now = WindowSpec.model_validate(row.spec), now or datetime.now(UTC)
    goes_on, comes = span_at(window, now), next_span(window, now)
    span = goes_on or comes
    return WindowResponse(
        name=row.name,
        origin=row.origin,
        updated_at=row.updated_at,
        spec=row.spec,
        state="now" if goes_on else "next" if comes else "over",
        begins_at=window.since if window.cron is None or span is None else span.begins,
        ends_at=window.until if span is None else span.ends,
    )
