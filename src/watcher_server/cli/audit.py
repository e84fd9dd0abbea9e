"""``watcher audit``: who changed what."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from watcher_server.audit.reading import list_entries, read_lines
from watcher_server.audit.schemas import AuditQuery
from watcher_server.audit.wording import describe_object, read_differences
from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.given import read_options, read_span
from watcher_server.cli.terminal import console, minute, say
from watcher_server.kit.text import escape_controls

_OPTIONS = {"object_kind": "--kind", "object_id": "--id", "q": "--search"}


def show(given: Mapping[str, str | None], limit: int, *, as_json: bool) -> None:
    """Print a table of the newest entries, or every entry as JSON.

    Raises:
        CommandError: an option is no moment, or too long.
    """
    moments = {name: _moment(name, given[name]) for name in ("since", "until")}
    asked = read_options(AuditQuery, {**given, **moments, "limit": limit}, _OPTIONS)
    with command_transaction() as connection:
        if as_json:
            for line in read_lines(connection, asked):
                sys.stdout.write(line)
            return
        page = list_entries(connection, asked)
    if not page.entries:
        say("Nothing was changed" + (" that is like that." if any(given.values()) else " yet."))
        return
    table = Table("When (UTC)", "Who", "What", "Changes")
    for entry in page.entries:
        who = f"{entry.actor}\n{entry.actor_kind}, {entry.source}"
        changes = "\n".join(f"{each.field}: {each.sentence}" for each in read_differences(entry))
        table.add_row(minute(entry.at), _text(who), _text(f"{entry.action} {describe_object(entry)}"), _text(changes))
    console().print(table)
    if page.next_cursor is not None:
        say("There are more: raise --limit, or narrow the list with --since, --actor or --kind.")


def _moment(name: str, given: str | None) -> datetime | str | None:
    ago = read_span(given) if given else None
    if ago is None:
        return given
    try:
        return datetime.now(UTC) - ago
    except OverflowError:
        raise CommandError(f"--{name} lies too far back.") from None


def _text(said: str) -> Text:
    # Text, because a plain string is read as markup, and a name may look like it.
    return Text(escape_controls(said, keep_layout=True))
