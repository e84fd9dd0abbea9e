"""Applying the file: everything in one transaction, or nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config import store
from watcher_server.alerts.config.fields import Shape
from watcher_server.alerts.config.schemas import DEFAULT
from watcher_server.alerts.config.secrets import dump
from watcher_server.alerts.models import AlertingObject, Channel
from watcher_server.audit.acting import acting_by_file
from watcher_server.config_file.pipelines import apply_pipelines
from watcher_server.config_file.schemas import Apply, Change, Document, Plan, check_document
from watcher_server.kit.errors import InvalidFieldError
from watcher_server.settings import Settings

Row = TypeVar("Row", Channel, AlertingObject)


async def apply(session: AsyncSession, body: Apply, settings: Settings) -> Plan:
    """Make what the file says so; what changed.

    A dry run does the same and takes it back, so it finds the same mistakes.

    Raises:
        InvalidFieldError: with the path of what is wrong.
        ConflictError: something in it comes from another file, or cannot be removed.
    """
    check_document(body.document)
    savepoint = await session.begin_nested()
    await store.lock_alerting(session)
    with acting_by_file(body.origin):
        plan = await _Application(session, body, settings).run()
    if body.dry_run:
        await savepoint.rollback()
    return plan


@dataclass
class _Application:
    session: AsyncSession
    body: Apply
    settings: Settings
    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0
    taken_over: int = 0

    @property
    def document(self) -> Document:
        return self.body.document

    async def run(self) -> Plan:
        """Write everything, what others refer to first, and remove what is left, what refers to others first."""
        await self._write_channels()
        for name, calendar in self.document.calendars.items():
            await self._write(store.ObjectKind.CALENDAR, name, dump(calendar))
        await self._write_routes()
        for window in self.document.windows:
            await self._write(store.ObjectKind.WINDOW, window.name, _unnamed(window))
        for entry in self.document.pipelines:
            await self._write(store.ObjectKind.PIPELINE, entry.pipeline, entry.spec(), is_silent=True)
        changes, unchanged = await apply_pipelines(self.session, self.document.pipelines)
        self.changes += changes
        self.unchanged += unchanged
        await self._remove_left_over()
        return Plan(
            dry_run=self.body.dry_run, changes=self.changes, unchanged=self.unchanged, taken_over=self.taken_over
        )

    async def _write_channels(self) -> None:
        for name, channel in self.document.channels.items():
            before = await store.find_channel(self.session, name)
            is_free = before is not None and before.origin is None
            try:
                made = await store.write_channel(self.session, name, channel, self.settings, origin=self.body.origin)
            except InvalidFieldError as error:
                raise InvalidFieldError(error.field, str(error), ("document", "channels", name)) from None
            self._note("channel", name, made, is_free=is_free)

    async def _write_routes(self) -> None:
        before = [
            row.name for row in await store.read_objects(self.session, store.ObjectKind.ROUTE) if row.name != DEFAULT
        ]
        known = await store.read_known(self.session)
        for place, route in enumerate(self.document.routes):
            store.check_references(route, known, ("document", "routes", place))
            await self._write(store.ObjectKind.ROUTE, route.name, _unnamed(route))
        names = [route.name for route in self.document.routes if route.name != DEFAULT]
        after = merge_order(before, names)
        await store.order_routes(self.session, after, before=before)
        if [name for name in after if name in before] != before:
            self.changes.append(Change(action="changed", kind="route", name=", ".join(names), detail="their order"))

    async def _write(self, kind: store.ObjectKind, name: str, spec: dict[str, Any], *, is_silent: bool = False) -> None:
        before = await store.find_object(self.session, kind, name)
        is_free = before is not None and before.origin is None
        made = await store.write_object(self.session, kind, name, spec, origin=self.body.origin)
        if not is_silent:
            self._note(kind.value, name, made, is_free=is_free)

    def _note(self, kind: Any, name: str, made: bool | None, *, is_free: bool) -> None:
        if made is None:
            self.unchanged += 1
            self.taken_over += is_free
        else:
            self.changes.append(Change(action="added" if made else "changed", kind=kind, name=name))

    async def _remove_left_over(self) -> None:
        kept: dict[store.ObjectKind, Collection[str]] = {
            store.ObjectKind.ROUTE: {route.name for route in self.document.routes},
            store.ObjectKind.WINDOW: {window.name for window in self.document.windows},
            store.ObjectKind.PIPELINE: {entry.pipeline for entry in self.document.pipelines},
            store.ObjectKind.CALENDAR: self.document.calendars,
        }
        for kind, names in kept.items():
            for row in self._left_over(await store.read_objects(self.session, kind), names):
                if self.body.prune:
                    await store.remove_object(self.session, row)
                self._note_left(kind.value, row.name)
        for channel in self._left_over(await store.read_channels(self.session), self.document.channels):
            if self.body.prune:
                await store.remove_channel(self.session, channel)
            self._note_left("channel", channel.name)

    def _left_over(self, rows: Sequence[Row], kept: Collection[str]) -> list[Row]:
        return [row for row in rows if row.origin == self.body.origin and row.name not in kept]

    def _note_left(self, kind: Any, name: str) -> None:
        self.changes.append(Change(action="removed" if self.body.prune else "left", kind=kind, name=name))


def _unnamed(shape: Shape) -> dict[str, Any]:
    return {name: value for name, value in dump(shape).items() if name != "name"}


def merge_order(before: Sequence[str], names: Sequence[str]) -> list[str]:
    """The routes that there were and those of a file, each of the latter once, in the order of the file.

    Those of the file that there were take their places among the others; a new one comes after the one that stands
    before it in the file, the first ones before the one after them, and without any of these at the end.
    """
    known = [name for name in names if name in before]
    in_turn = iter(known)
    merged = [next(in_turn) if name in known else name for name in before]
    place = merged.index(known[0]) if known else len(merged)
    for name in names:
        if name in known:
            place = merged.index(name) + 1
        else:
            merged.insert(place, name)
            place += 1
    return merged
