"""``watcher route explain``: who would be told, and why."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from watcher_server.alerts.kinds import Kind
from watcher_server.alerts.levels import Level
from watcher_server.alerts.routing.schemas import Explanation, RouteExplained
from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.given import read_moment
from watcher_server.cli.groups import new_group
from watcher_server.cli.options import AsJson
from watcher_server.cli.terminal import minute
from watcher_server.incidents.explaining import explain_incident
from watcher_server.kit.durations import duration_text
from watcher_server.kit.errors import DomainError
from watcher_server.kit.text import escape_controls

app = new_group()


@app.command("explain")
def explain(
    *,
    kind: Annotated[Kind, typer.Option(help="What would be wrong.")],
    pipeline: Annotated[str | None, typer.Option(metavar="NAME", help="The pipeline, by its name or its id.")] = None,
    level: Annotated[str | None, typer.Option(help="INFO, WARNING, ERROR or CRITICAL, if not the usual one.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="MOMENT", help="When, such as 2026-11-28T23:00+01:00; UTC without a zone.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say who would be told, route by route: which takes it or why not, which channels, and when.

    On Saturday night: watcher route explain --pipeline orders --kind failing --at 2026-11-28T23:00+01:00
    """
    wanted_level, moment = _level(level), None if at is None else read_moment("--at", at)
    try:
        with command_transaction() as connection:
            found = explain_incident(connection, kind=kind, pipeline=pipeline, level=wanted_level, at=moment)
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


def _lines(found: Explanation) -> Iterator[str]:
    about = f" of {escape_controls(found.pipeline)}" if found.pipeline else ""
    yield f"{found.kind}{about}, {found.level}, at {minute(found.at)} UTC"
    if found.window is not None:
        until = f"until {minute(found.quiet_until)} UTC" if found.quiet_until else "without an end"
        yield f"  quiet by the window {found.window} {until}; what still holds is told then"
    for route in found.routes:
        yield from _route_lines(route)


def _route_lines(route: RouteExplained) -> Iterator[str]:
    if route.state != "takes":
        why = "; ".join(route.why_not) or "a route before it takes it"
        yield f"  {route.route}: no, {escape_controls(why)}"
        return
    when = "not told" if route.drops else f"told {minute(route.told_at)} UTC" if route.told_at else "told at once"
    waits = f" ({escape_controls(route.waits_for)})" if route.waits_for else ""
    yield f"  {route.route}: {', '.join(route.channels)}, {when}{waits}"
    if route.repeat_seconds is not None:
        yield f"    again every {duration_text(route.repeat_seconds)} while nobody has acknowledged it"
    for step in route.escalates:
        yield f"    after {duration_text(step.after_seconds)} unacknowledged: {', '.join(step.to)}"
    if route.fallback is not None:
        yield f"    {route.fallback}, when a channel is broken"
