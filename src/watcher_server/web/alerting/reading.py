"""What the pages of who is told show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config import answers, service
from watcher_server.alerts.config.answers import WindowResponse
from watcher_server.alerts.config.schemas import CalendarSpec, RouteSpec, WindowSpec
from watcher_server.alerts.config.store import ObjectKind, read_objects
from watcher_server.web.alerting.wording import describe_match, describe_route, describe_when


class Caught(NamedTuple):
    """How many alerts a route took in the last week, and when the newest."""

    alerts: int
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class ShownRoute:
    """A route in words."""

    name: str
    origin: str | None
    takes: str
    tells: Sequence[str]
    lines: Sequence[str]
    caught: Caught


@dataclass(frozen=True, slots=True)
class ShownWindow:
    """A window in words, and its times."""

    window: WindowResponse
    takes: str
    when: str
    mode: str
    note: str | None
    is_once: bool


async def read_routes(session: AsyncSession) -> Sequence[ShownRoute]:
    """The routes in their order."""
    # Notifications are few, tens of thousands at most: one pass, without an index of its own.
    statement = """
        SELECT coalesce(route, 'default') AS route, count(DISTINCT alert_id) AS alerts, max(created_at) AS newest
        FROM notification WHERE created_at > now() - interval '7 days' GROUP BY 1
    """
    caught = {name: Caught(alerts, newest) for name, alerts, newest in await session.execute(text(statement))}
    return [
        ShownRoute(
            name=row.name,
            origin=row.origin,
            takes=describe_match(route.match),
            tells=route.to,
            lines=describe_route(route),
            caught=caught.get(row.name, Caught(0, None)),
        )
        for row in await service.list_routes(session)
        for route in (RouteSpec.model_validate(row.spec),)
    ]


async def read_calendars(session: AsyncSession) -> Sequence[tuple[str, str | None, CalendarSpec]]:
    """The calendars by name, each with its file."""
    rows = await read_objects(session, ObjectKind.CALENDAR)
    return [(row.name, row.origin, CalendarSpec.model_validate(row.spec)) for row in rows]


async def read_windows(session: AsyncSession) -> Mapping[str, Sequence[ShownWindow]]:
    """The windows that are now, that come next (the soonest first), and that are over (the latest first)."""
    shown = [_show_window(answers.show_window(row)) for row in await read_objects(session, ObjectKind.WINDOW)]
    by_state = {state: [each for each in shown if each.window.state == state] for state in ("now", "next", "over")}
    by_state["next"].sort(key=lambda each: each.window.begins_at.timestamp() if each.window.begins_at else 0.0)
    by_state["over"].sort(key=lambda each: -each.window.ends_at.timestamp() if each.window.ends_at else 0.0)
    return by_state


def _show_window(window: WindowResponse) -> ShownWindow:
    spec = WindowSpec.model_validate(window.spec)
    return ShownWindow(
        window=window,
        takes=describe_match(spec.match),
        when=describe_when(spec),
        mode="runs are not expected" if spec.mode == "skip" else "told at its end, as far as it still holds",
        note=spec.note,
        is_once=spec.cron is None,
    )
