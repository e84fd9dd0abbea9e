"""Changing who is told, one object at a time, by the API and the pages."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config import store
from watcher_server.alerts.config.channel_types import GivenChannel
from watcher_server.alerts.config.schemas import DEFAULT, DEFAULT_ROUTE, CalendarSpec, RouteSpec, WindowSpec
from watcher_server.alerts.config.secrets import dump
from watcher_server.alerts.config.store import ObjectKind
from watcher_server.alerts.models import AlertingObject, Channel
from watcher_server.kit.errors import ConflictError, InvalidFieldError
from watcher_server.settings import Settings

# What somebody with the scope write may quieten at once.
LONGEST_QUIET = timedelta(days=366)
FOR_ADMINISTRATORS = (
    "What comes again, or does not end within a year, only somebody with the scope admin may quieten: say when it ends."
)


async def put_channel(
    session: AsyncSession, name: str, given: GivenChannel, settings: Settings
) -> tuple[Channel, bool]:
    """Make or change a channel; whether it was made.

    Raises:
        InvalidFieldError: a secret cannot be kept.
        ConflictError: it comes from a file.
    """
    await store.lock_alerting(session)
    created = await store.write_channel(session, name, given, settings, origin=None)
    return await get_channel(session, name), bool(created)


async def get_channel(session: AsyncSession, name: str) -> Channel:
    """The channel of that name that a person made. Raises NotFoundError: there is none."""
    row = await store.find_channel(session, name)
    if row is None:
        raise store.not_found("channel", name)
    await session.refresh(row)
    return row


async def delete_channel(session: AsyncSession, name: str) -> None:
    """Remove a channel; what waits for it goes to the channel of the settings.

    Raises:
        NotFoundError: there is none.
        ConflictError: it comes from a file, routes name it, or it is that of the settings.
    """
    if name == DEFAULT:
        raise ConflictError("The channel 'default' comes from the settings and cannot be removed.")
    await store.lock_alerting(session)
    row = await get_channel(session, name)
    store.check_origin(row, "channel", None)
    await store.remove_channel(session, row)


async def list_routes(session: AsyncSession) -> Sequence[AlertingObject]:
    """The routes in the order in which they are asked, ``default`` last."""
    stored = await store.read_objects(session, ObjectKind.ROUTE)
    others = [row for row in stored if row.name != DEFAULT]
    last = next((row for row in stored if row.name == DEFAULT), None)
    if last is None:
        # Where none is stored: everything to the channel of the settings.
        spec = dump(DEFAULT_ROUTE)
        name, place = spec.pop("name"), len(others)
        last = AlertingObject(kind=ObjectKind.ROUTE, name=name, spec=spec, position=place, origin=None)
    return [*others, last]


async def put_route(
    session: AsyncSession, name: str, route: RouteSpec, before: str | None
) -> tuple[AlertingObject, bool]:
    """Make or change a route; whether it was made. It is asked before another one, or stays where it is.

    A new one is asked last, before ``default``.

    Raises:
        InvalidFieldError: it names a channel, a calendar or a route that there is not.
        ConflictError: it comes from a file.
    """
    await store.lock_alerting(session)
    if name == DEFAULT:
        store.check_default(route)
    store.check_references(route, await store.read_known(session))
    there_were = [row.name for row in await list_routes(session)]
    created = await store.write_object(session, ObjectKind.ROUTE, name, dump(route), origin=None)
    names = [row.name for row in await list_routes(session)]
    await store.order_routes(session, _moved(names, name, before, is_new=bool(created)), before=there_were)
    return await get_object(session, ObjectKind.ROUTE, name), bool(created)


def _moved(names: Sequence[str], name: str, before: str | None, *, is_new: bool) -> Sequence[str]:
    others = [each for each in names if each not in {name, DEFAULT}]
    if before is None:
        return [*others, name] if is_new else names
    if before == DEFAULT:
        return [*others, name]
    if before not in others:
        raise InvalidFieldError("before", f"names the route {before!r}, which does not exist or is this one")
    place = others.index(before)
    return [*others[:place], name, *others[place:]]


async def put_object(
    session: AsyncSession, kind: ObjectKind, name: str, spec: CalendarSpec | WindowSpec
) -> tuple[AlertingObject, bool]:
    """Make or change a calendar or a window; whether it was made. Raises ConflictError: it comes from a file."""
    await store.lock_alerting(session)
    created = await store.write_object(session, kind, name, dump(spec), origin=None)
    return await get_object(session, kind, name), bool(created)


def is_for_administrators(window: WindowSpec) -> bool:
    """Whether only an administrator may add the window."""
    return window.until is None or window.until > datetime.now(UTC) + LONGEST_QUIET


async def add_window(session: AsyncSession, name: str | None, window: WindowSpec, actor: str) -> AlertingObject:
    """Add a window under a name that no window has, or that one has which is over; without a name under a new one.

    Raises:
        ConflictError: another window has the name and is not over.
    """
    await store.lock_alerting(session)
    # Windows that are over are kept for a while: they explain why an alert was not sent.
    forget = """
        DELETE FROM alerting_object
        WHERE kind = 'window' AND origin IS NULL AND CAST(spec ->> 'until' AS timestamptz) < now() - interval '30 days'
    """
    await session.execute(text(forget))
    now = datetime.now(UTC)
    name = name or f"quiet-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    before = await store.find_object(session, ObjectKind.WINDOW, name)
    if before is not None and (before.origin or not WindowSpec.model_validate(before.spec).is_over(now)):
        raise ConflictError(f"A window with the name {name!r} is there already: end it, or choose another name.")
    spec = dump(window)
    spec.setdefault("note", f"by {actor}")
    if window.cron is None:
        spec.setdefault("from", now.isoformat())
    await store.write_object(session, ObjectKind.WINDOW, name, spec, origin=None)
    return await get_object(session, ObjectKind.WINDOW, name)


async def end_window(session: AsyncSession, name: str) -> AlertingObject:
    """End a window that happens once, now.

    Raises:
        NotFoundError: there is none.
        ConflictError: it comes from a file, comes again, or is over.
    """
    await store.lock_alerting(session)
    row = await get_object(session, ObjectKind.WINDOW, name)
    store.check_origin(row, "window", None)
    window, now = WindowSpec.model_validate(row.spec), datetime.now(UTC)
    if window.cron:
        raise ConflictError(f"The window {name!r} comes again by its schedule: remove it, or change it.")
    if window.is_over(now):
        raise ConflictError(f"The window {name!r} is over already.")
    if window.since and window.since >= now:
        # It never began, and a window cannot end before its beginning.
        await store.remove_object(session, row)
        return row
    await store.write_object(session, ObjectKind.WINDOW, name, {**row.spec, "until": now.isoformat()}, origin=None)
    await session.refresh(row)
    return row


async def get_object(session: AsyncSession, kind: ObjectKind, name: str) -> AlertingObject:
    """An object of a kind; the route ``default`` is always there. Raises NotFoundError: there is none."""
    if kind is ObjectKind.ROUTE and name == DEFAULT:
        return (await list_routes(session))[-1]
    row = await store.find_object(session, kind, name)
    if row is None:
        raise store.not_found(kind, name)
    await session.refresh(row)
    return row


async def delete_object(session: AsyncSession, kind: ObjectKind, name: str) -> None:
    """Remove an object.

    Raises:
        NotFoundError: there is none.
        ConflictError: it comes from a file, routes name it, or it is the route ``default``.
    """
    if kind is ObjectKind.ROUTE and name == DEFAULT:
        raise ConflictError("The route 'default' cannot be removed: it takes what no other route did.")
    await store.lock_alerting(session)
    row = await get_object(session, kind, name)
    store.check_origin(row, kind, None)
    await store.remove_object(session, row)
