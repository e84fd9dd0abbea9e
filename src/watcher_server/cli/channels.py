"""``watcher channels``: asks a server, so that its settings and secrets count, and not those of this terminal."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

import typer

from watcher_server.cli.calling import call, detail_of, json_of
from watcher_server.cli.errors import CommandError
from watcher_server.cli.groups import new_group
from watcher_server.cli.options import Url, token_option
from watcher_server.cli.terminal import say

app = new_group()


@app.command("test")
def try_one(
    name: Annotated[str, typer.Argument(help="The channel, such as data-slack; default is that of the settings.")],
    url: Url = None,
    token: Annotated[str | None, token_option("with the scope admin")] = None,
) -> None:
    """Send a channel one incident, opened and resolved and marked TEST. Status 1 when it did not arrive."""
    answer = call("POST", f"/alerting/channels/{quote(name, safe='')}/test", url, token)
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise CommandError(detail_of(answer) or f"No channel has the name {name!r}.")
    tested = json_of(answer, "arrived")
    error = tested["error"]
    if tested["arrived"]:
        said = f"The test arrived at {name} ({tested['sent_to']})" + (f", but: {error}" if error else "")
    else:
        said = f"The test did not arrive at {name}: {error}"
    say(f"{said}.")
    if not tested["arrived"]:
        raise typer.Exit(1)
