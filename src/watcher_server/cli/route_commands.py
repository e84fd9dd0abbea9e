"""The options of ``watcher route``; what the command does is imported when it runs."""

from typing import Annotated

import typer

from watcher_server.cli.incident_commands import AsJson, Kind

route_app = typer.Typer(help="See who would be told, and why.", no_args_is_help=True)


@route_app.callback()
def routes() -> None:
    """Keep the name of the one command."""


@route_app.command("explain")
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
    from watcher_server.cli import route_explain

    route_explain.explain(kind, pipeline=pipeline, level=level, at=at, as_json=as_json)
