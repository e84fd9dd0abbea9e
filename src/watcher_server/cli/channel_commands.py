"""The options of ``watcher channels``; what the commands do is imported when they run."""

from typing import Annotated

import typer

channels_app = typer.Typer(help="See where alerts go, and test that they arrive.", no_args_is_help=True)

Url = Annotated[
    str | None,
    typer.Option(envvar="WATCHER_URL", help="Watcher's address; by default that of the one that runs here."),
]
Token = Annotated[
    str | None,
    typer.Option(envvar="WATCHER_TOKEN", help="A token with the scope admin, where Watcher asks for one."),
]


@channels_app.command("test")
def try_one(
    name: Annotated[str, typer.Argument(help="The channel, such as data-slack; default is that of the settings.")],
    url: Url = None,
    token: Token = None,
) -> None:
    """Send a channel one incident, opened and resolved and marked TEST. Status 1 when it did not arrive."""
    from watcher_server.cli import channels

    if not channels.try_channel(name, url, token):
        raise typer.Exit(1)
