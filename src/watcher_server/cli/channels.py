"""``watcher channels``: asks a server, so that its settings and secrets count, and not those of this terminal."""

import sys
from http import HTTPStatus
from urllib.parse import quote

from watcher_server.cli.calling import call, detail_of, json_of
from watcher_server.cli.errors import CommandError
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls


def try_channel(name: str, url: str | None, token: str | None) -> bool:
    """Test a channel, and say what came of it; whether the test arrived.

    Raises:
        CommandError: there is no such channel, or the server does not answer.
    """
    answer = call("POST", f"/alerting/channels/{quote(name, safe='')}/test", url, token)
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise CommandError(detail_of(answer) or f"No channel has the name {name!r}.")
    tested = json_of(answer, "arrived")
    error = tested["error"]
    if tested["arrived"]:
        said = f"The test arrived at {name} ({tested['sent_to']})" + (f", but: {error}" if error else "")
    else:
        said = f"The test did not arrive at {name}: {error}"
    sys.stdout.write(f"{escape_controls(typeable(said))}.\n")
    return bool(tested["arrived"])
