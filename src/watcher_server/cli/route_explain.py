"""``watcher route explain``: who would be told, and why."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from watcher_server.alerts.levels import Level
from watcher_server.alerts.routing.schemas import Explanation, RouteExplained
from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.incidents.explaining import explain_incident
from watcher_server.incidents.kinds import Kind
from watcher_server.kit.durations import duration_text
from watcher_server.kit.errors import DomainError
from watcher_server.kit.fields import UtcDatetime
from watcher_server.kit.text import escape_controls


def explain(kind: str, *, pipeline: str | None, level: str | None, at: str | None, as_json: bool) -> None:
    """Print who would be told, as text or as JSON.

    Raises:
        CommandError: there is no such pipeline, or an option is none.
    """
    wanted = {"kind": Kind(kind), "pipeline": pipeline, "level": _level(level), "at": _moment(at)}
    try:
        with command_transaction() as connection:
            found = explain_incident(connection, **wanted)  # type: ignore[arg-type]  # one of each, as above
    except DomainError as error:
        raise CommandError(str(error)) from None
    text = found.model_dump_json(indent=2) if as_json else "\n".join(_lines(found))
    sys.stdout.write(f"{text}\n")


def _level(text: str | None) -> Level | None:
    if text is None:
        return None
    try:
        return Level(text.upper())
    except ValueError:
        raise CommandError("--level must be INFO, WARNING, ERROR or CRITICAL.") from None


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment: datetime = TypeAdapter[datetime](UtcDatetime).validate_python(text)
    except ValidationError:
        raise CommandError("--at must be a moment such as 2026-11-28T23:00+01:00.") from None
    return moment


def _lines(found: Explanation) -> Iterator[str]:
    about = f" of {escape_controls(found.pipeline)}" if found.pipeline else ""
    yield f"{found.kind}{about}, {found.level}, at {_minute(found.at)}"
    if found.window is not None:
        until = f"until {_minute(found.quiet_until)}" if found.quiet_until else "without an end"
        yield f"  quiet by the window {found.window} {until}; what still holds is told then"
    for route in found.routes:
        yield from _route_lines(route)


def _route_lines(route: RouteExplained) -> Iterator[str]:
    if route.state != "takes":
        why = "; ".join(route.why_not) or "a route before it takes it"
        yield f"  {route.route}: no, {escape_controls(why)}"
        return
    when = "not told" if route.drops else f"told {_minute(route.told_at)}" if route.told_at else "told at once"
    waits = f" ({escape_controls(route.waits_for)})" if route.waits_for else ""
    yield f"  {route.route}: {', '.join(route.channels)}, {when}{waits}"
    if route.repeat_seconds is not None:
        yield f"    again every {duration_text(route.repeat_seconds)} while nobody has acknowledged it"
    for step in route.escalates:
        yield f"    after {duration_text(step.after_seconds)} unacknowledged: {', '.join(step.to)}"
    if route.fallback is not None:
        yield f"    {route.fallback}, when a channel is broken"


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
