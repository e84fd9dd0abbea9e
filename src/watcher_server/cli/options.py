"""Options that several commands have."""

from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, as the API answers it.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="At most this number.")]
Url = Annotated[
    str | None,
    typer.Option("--url", envvar="WATCHER_URL", help="Watcher's address; by default that of the one that runs here."),
]


def token_option(right: str) -> Any:
    """The option for a token with that right."""
    return typer.Option("--token", envvar="WATCHER_TOKEN", help=f"A token {right}, where Watcher asks for one.")
