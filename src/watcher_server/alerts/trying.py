"""The test of a channel: an incident that is opened and resolved, marked as a test."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.channels.snapshot import About, Parent, Snapshot
from watcher_server.alerts.composing import page
from watcher_server.alerts.config.schemas import DEFAULT
from watcher_server.alerts.config.store import find_channel, not_found
from watcher_server.alerts.kinds import Kind
from watcher_server.alerts.lanes import note_success
from watcher_server.alerts.levels import Level
from watcher_server.alerts.outcome import Outcome
from watcher_server.alerts.sending import ChannelRow, send
from watcher_server.alerts.service import alert_text
from watcher_server.audit.service import Change, record_in
from watcher_server.settings import Settings

_TITLE = "TEST of a channel"


class Tested(NamedTuple):
    """What came of the two messages of a test; the second is not sent where the first did not arrive."""

    opened: Outcome
    resolved: Outcome | None

    @property
    def arrived(self) -> bool:
        return self.resolved is not None and self.resolved.sent_to is not None

    @property
    def error(self) -> str | None:
        """Why not; or what of the messages did not work although they arrived."""
        return (self.resolved and self.resolved.error) or self.opened.error


def try_channel(channel: ChannelRow, settings: Settings) -> Tested:
    """Send one incident opened and resolved to the channel, at once and past all that waits for it."""
    began_at, key = datetime.now(UTC), f"watcher-test-{uuid4()}"
    about = About(
        id=0,
        key=key,
        kind=Kind.CHANNEL,
        level=Level.WARNING,
        subject=f"TEST {channel.name}",
        detail="TEST: nothing is wrong",
        is_over=False,
        opened_at=began_at,
        link=page("/ui/channels", settings),
    )
    opening = f"TEST: this is how an incident of Watcher reads in the channel '{channel.name}'. Nothing is wrong."
    told = _snapshot(about, Level.WARNING, "opened", opening)
    opened = send(channel, told, settings)
    if opened.sent_to is None:
        return Tested(opened, None)
    ending = f"TEST: and this is how its end reads. The channel '{channel.name}' works."
    over = _snapshot(replace(about, is_over=True), Level.RESOLVED, "resolved", ending)
    parents = [Parent(opened.ref, told.text, is_over=True)] if opened.ref else []
    return Tested(opened, send(channel, replace(over, parents=parents), settings))


def _snapshot(about: About, level: Level, change: str, message: str) -> Snapshot:
    told_at = datetime.now(UTC)
    return Snapshot(
        key=f"{about.key}-{change}",
        level=level,
        title=_TITLE,
        message=message,
        created_at=told_at,
        text=alert_text(level=level, title=_TITLE, message=message, details=(), created_at=told_at),
        kind=about.kind,
        change=change,
        incidents=[about],
        link=about.link,
    )


async def _note_test(session: AsyncSession, name: str, tested: Tested) -> None:
    """Keep what came of a test: a channel that takes it is not broken any more, and what waits for it goes."""
    await record_in(session, Change("test", "channel", name, name, after={"arrived": tested.arrived}))
    # The channel of the settings has no row before its first message.
    await session.execute(text("INSERT INTO channel (name) VALUES (:name) ON CONFLICT DO NOTHING"), {"name": name})
    if tested.arrived:
        await (await session.connection()).run_sync(note_success, name)
        wake = "UPDATE channel SET paused_until = now() WHERE name = :name AND paused_until > now()"
        await session.execute(text(wake), {"name": name})
        return
    statement = text("UPDATE channel SET last_error = :error WHERE name = :name")
    await session.execute(statement, {"name": name, "error": tested.error})


async def run_test(
    open_session: Callable[[], AbstractAsyncContextManager[AsyncSession]], name: str, settings: Settings
) -> Tested:
    """Test a channel, and keep what came of it; no transaction is open while the channel is asked.

    Raises:
        NotFoundError: there is no such channel.
    """
    channel = ChannelRow(DEFAULT, DEFAULT, {}, None)
    if name != DEFAULT:
        async with open_session() as reading:
            row = await find_channel(reading, name)
        if row is None:
            raise not_found("channel", name)
        channel = ChannelRow(row.name, row.type, row.spec, row.secrets)
    tested = await asyncio.to_thread(try_channel, channel, settings)
    async with open_session() as writing:
        await _note_test(writing, name, tested)
    return tested
