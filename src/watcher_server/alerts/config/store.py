"""Reading and writing who is told: one change at a time, so that what refers to something always finds it."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config.channel_types import GivenChannel
from watcher_server.alerts.config.fields import Shape
from watcher_server.alerts.config.schemas import DEFAULT, CalendarSpec, Match, RouteSpec, WindowSpec
from watcher_server.alerts.config.secrets import check_place, dump, dump_channel, keep_secrets
from watcher_server.alerts.models import AlertingObject, Channel
from watcher_server.audit.service import Change, record_in
from watcher_server.database.locks import ALERTING_LOCK
from watcher_server.kit.errors import ConflictError, InvalidFieldError, NotFoundError
from watcher_server.settings import Settings


class ObjectKind(StrEnum):
    """What an alerting object is."""

    ROUTE = "route"
    CALENDAR = "calendar"
    WINDOW = "window"
    PIPELINE = "pipeline"


def spec_for_people(row: AlertingObject) -> dict[str, Any]:
    """What a route, calendar or window says, in the order of its fields: the database orders them by their length."""
    shapes: Mapping[str, type[Shape]] = {
        ObjectKind.ROUTE: RouteSpec, ObjectKind.CALENDAR: CalendarSpec, ObjectKind.WINDOW: WindowSpec
    }  # fmt: skip
    return dump(shapes[row.kind].model_validate(row.spec))


class Known(NamedTuple):
    """The names that a route may refer to."""

    channels: frozenset[str]
    calendars: frozenset[str]


# How the audit trail calls them: an entry of a file about pipelines is no pipeline.
_TOLD_AS: Mapping[ObjectKind, str] = {**{kind: kind.value for kind in ObjectKind}, ObjectKind.PIPELINE: "file_entry"}

# What a channel was told of itself is not so of another place.
_AS_NEW = {"failures": 0, "gone": False} | dict.fromkeys(
    ("failing_since", "paused_until", "last_error", "cap_tokens", "cap_at")
)


async def lock_alerting(session: AsyncSession) -> None:
    """Let one change at a time pass, until the transaction ends."""
    await session.execute(select(func.pg_advisory_xact_lock(ALERTING_LOCK)))


async def read_known(session: AsyncSession) -> Known:
    """What there is to refer to."""
    channels = await session.scalars(select(Channel.name).where(Channel.type != DEFAULT))
    calendars = await session.scalars(select(AlertingObject.name).where(AlertingObject.kind == ObjectKind.CALENDAR))
    return Known(frozenset({DEFAULT, *channels}), frozenset(calendars))


def check_references(route: RouteSpec, known: Known, path: tuple[str | int, ...] = ()) -> None:
    """Raise InvalidFieldError where the route names what is not there; ``path`` is where in the body it lies."""
    named = [("to", name) for name in route.to]
    named += [("escalate", name) for step in route.escalate for name in step.to]
    named += [("fallback", route.fallback)] if route.fallback else []
    for field, name in named:
        if name not in known.channels:
            raise InvalidFieldError(field, f"names the channel {name!r}, which does not exist: add it first", path)
    if route.hours and route.hours.calendar not in known.calendars:
        name = route.hours.calendar
        raise InvalidFieldError("hours", f"names the calendar {name!r}, which does not exist: add it first", path)


def check_default(route: RouteSpec, path: tuple[str | int, ...] = ()) -> None:
    """Raise InvalidFieldError where the last route leaves something out: it matches only some alerts, or goes on."""
    if route.match != Match():
        raise InvalidFieldError("match", "must be left out of the route 'default', which takes what no other did", path)
    if route.continue_:
        raise InvalidFieldError("continue", "must be left out of the route 'default': it is the last", path)


def check_origin(row: Channel | AlertingObject, what: str, origin: str | None) -> None:
    """Raise ConflictError, which names the file, where a row comes from another one."""
    if row.origin is not None and row.origin != origin:
        raise ConflictError(
            f"The {what} {row.name!r} comes from the file {row.origin}: change it there, and run `watcher apply` again."
        )


async def read_channels(session: AsyncSession) -> Sequence[Channel]:
    """The channels that somebody made, by name."""
    return (await session.scalars(select(Channel).where(Channel.type != DEFAULT).order_by(Channel.name))).all()


async def find_channel(session: AsyncSession, name: str) -> Channel | None:
    """The channel of that name that a person made."""
    channel = await session.get(Channel, name)
    return None if channel is None or channel.type == DEFAULT else channel


async def write_channel(
    session: AsyncSession, name: str, given: GivenChannel, settings: Settings, *, origin: str | None
) -> bool | None:
    """Make or change a channel; whether it was made, None when it was so already. The caller has the lock.

    Raises:
        InvalidFieldError: a secret cannot be kept, or the name is that of the channel of the settings.
        ConflictError: it comes from another file.
    """
    if name == DEFAULT:
        raise InvalidFieldError("name", "must not be 'default': that channel comes from WATCHER_SLACK_WEBHOOK_URL")
    row = await find_channel(session, name)
    spec, plain = dump_channel(given)
    # What a file says is not as good as changed by hand where it is so already.
    if row is not None and row.spec == spec and not plain and (origin or not row.origin):
        await _take_over(session, "channel", row, origin)
        return None
    if row is not None:
        check_origin(row, "channel", origin)
        check_place(row.spec, spec, plain)
    secrets = keep_secrets(given, plain, row.secrets if row else None, settings)
    before = None if row is None else row.spec
    # A lane may have left a row of that name.
    await session.merge(
        Channel(name=name, type=given.type, spec=spec, secrets=secrets, origin=origin, updated_at=func.now(), **_AS_NEW)
    )
    await session.flush()
    # Of a secret that is given it is told which one, and not what it is.
    after = {**spec, "given_anew": sorted(plain)} if plain and row else spec
    await record_in(session, Change("change" if row else "create", "channel", name, name, before, after))
    return row is None


# Nothing that was found is lost with the channel that it waited for.
_REDIRECT = """
UPDATE notification SET channel = 'default', state = 'waiting', next_try_at = now(), route = 'default', reason = NULL,
    perhaps_sent = perhaps_sent OR state = 'sending'
WHERE channel = :name AND state IN ('waiting', 'sending') AND NOT EXISTS (
    SELECT FROM notification AS told WHERE told.alert_id = notification.alert_id AND told.channel = 'default'
)
"""
_GIVE_UP = """
UPDATE notification SET state = 'given_up', last_error = 'The channel was removed, and the default channel was told'
WHERE channel = :name AND state IN ('waiting', 'sending')
"""


async def remove_channel(session: AsyncSession, row: Channel) -> None:
    """Remove a channel; what waits for it goes to the channel of the settings. The caller has the lock.

    Raises:
        ConflictError: routes name it.
    """
    await _check_unused(session, "channel", row.name, lambda route: row.name in route.channels)
    for statement in (_REDIRECT, _GIVE_UP):
        await session.execute(text(statement), {"name": row.name})
    await session.delete(row)
    await session.flush()
    await record_in(session, Change("remove", "channel", row.name, row.name, before=row.spec))


async def read_objects(session: AsyncSession, kind: ObjectKind) -> Sequence[AlertingObject]:
    """The objects of a kind: routes and pipelines in their order, the others by name."""
    statement = select(AlertingObject).where(AlertingObject.kind == kind)
    return (await session.scalars(statement.order_by(AlertingObject.position, AlertingObject.name))).all()


async def find_object(session: AsyncSession, kind: ObjectKind, name: str) -> AlertingObject | None:
    """The object of a kind with that name."""
    found: AlertingObject | None = await session.scalar(
        select(AlertingObject).where(AlertingObject.kind == kind, AlertingObject.name == name)
    )
    return found


async def write_object(
    session: AsyncSession, kind: ObjectKind, name: str, spec: dict[str, Any], *, origin: str | None, position: int = 0
) -> bool | None:
    """Make or change an object; whether it was made, None when it was so already. The caller has the lock.

    Raises:
        ConflictError: it comes from another file.
    """
    row = await find_object(session, kind, name)
    if row is None:
        session.add(AlertingObject(kind=kind, name=name, spec=spec, origin=origin, position=position))
        await session.flush()
        await record_in(session, Change("create", _TOLD_AS[kind], name, name, after=spec))
        return True
    if row.spec == spec and (origin or not row.origin):
        await _take_over(session, _TOLD_AS[kind], row, origin)
        return None
    check_origin(row, kind, origin)
    before = row.spec
    row.spec, row.origin, row.updated_at = spec, origin, func.now()
    await session.flush()
    await record_in(session, Change("change", _TOLD_AS[kind], name, name, before, spec))
    return False


async def _take_over(session: AsyncSession, kind: str, row: Channel | AlertingObject, origin: str | None) -> None:
    """Have what no file said, and is so already, come from this file."""
    if row.origin is None and origin is not None:
        row.origin = origin
        await record_in(session, Change("take_over", kind, row.name, row.name, {"origin": None}, {"origin": origin}))


async def remove_object(session: AsyncSession, row: AlertingObject) -> None:
    """Remove an object. The caller has the lock. Raises ConflictError: routes name it."""
    if row.kind == ObjectKind.CALENDAR:
        await _check_unused(
            session, "calendar", row.name, lambda route: route.hours is not None and route.hours.calendar == row.name
        )
    await session.execute(delete(AlertingObject).where(AlertingObject.id == row.id))
    session.expunge(row)
    await record_in(session, Change("remove", _TOLD_AS[ObjectKind(row.kind)], row.name, row.name, before=row.spec))


async def order_routes(session: AsyncSession, names: Sequence[str], *, before: Sequence[str]) -> None:
    """Have the routes asked in this order, and ``default`` last. ``before`` is the order of those that there were."""
    places = {name: place for place, name in enumerate(name for name in names if name != DEFAULT)}
    for row in await read_objects(session, ObjectKind.ROUTE):
        row.position = places.get(row.name, len(places))
    await session.flush()
    kept = [name for name in names if name in before]
    was = [name for name in before if name in kept]
    await record_in(session, Change("order", "route", None, "the order of the routes", {"order": was}, {"order": kept}))


async def _check_unused(session: AsyncSession, what: str, name: str, names_it: Callable[[RouteSpec], bool]) -> None:
    routes = await read_objects(session, ObjectKind.ROUTE)
    users = [repr(row.name) for row in routes if names_it(RouteSpec.model_validate(row.spec))]
    if users:
        named_by = f"the route{'s' if len(users) > 1 else ''} {', '.join(users)}"
        raise ConflictError(f"The {what} {name!r} is named by {named_by}: change that first.")


def not_found(what: str, name: str) -> NotFoundError:
    """The error for a name that nothing has."""
    return NotFoundError(f"No {what} has the name {name!r}.")
