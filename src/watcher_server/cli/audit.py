"""``watcher audit``: who changed what."""

import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from watcher_server.audit.reading import list_entries, read_lines
from watcher_server.audit.schemas import AuditEntryResponse, AuditQuery
from watcher_server.audit.wording import describe_object, read_differences
from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.terminal import console
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls

_AGO = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_OPTIONS = {"object_kind": "kind", "object_id": "id", "q": "search"}


def show(given: Mapping[str, str | None], limit: int, *, as_json: bool) -> None:
    """Print a table of the newest entries, or every entry as JSON.

    Raises:
        CommandError: an option is no moment, or too long.
    """
    moments = {name: _moment(name, given[name]) for name in ("since", "until")}
    try:
        asked = AuditQuery.model_validate({**given, **moments, "limit": limit})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        message = first["msg"].removeprefix("Value error, ")
        raise CommandError(f"--{_OPTIONS.get(name, name)} cannot be that: {message}.") from None
    with command_transaction() as connection:
        if as_json:
            for line in read_lines(connection, asked):
                sys.stdout.write(line)
            return
        page = list_entries(connection, asked)
    if not page.entries:
        _say("Nothing was changed" + (" that is like that." if any(given.values()) else " yet."))
        return
    table = Table("When (UTC)", "Who", "What", "Changes")
    for entry in page.entries:
        table.add_row(f"{entry.at:%Y-%m-%d %H:%M}", _text(_who(entry)), _text(_what(entry)), _text(_changes(entry)))
    console().print(table)
    if page.next_cursor is not None:
        _say("There are more: raise --limit, or narrow the list with --since, --actor or --kind.")


def _moment(name: str, given: str | None) -> datetime | str | None:
    ago = _AGO.fullmatch(given.strip()) if given else None
    if ago is None:
        return given
    try:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    except OverflowError:
        raise CommandError(f"--{name} lies too far back.") from None


def _who(entry: AuditEntryResponse) -> str:
    return f"{entry.actor}\n{entry.actor_kind}, {entry.source}"


def _what(entry: AuditEntryResponse) -> str:
    return f"{entry.action} {describe_object(entry)}"


def _changes(entry: AuditEntryResponse) -> str:
    return "\n".join(f"{each.field}: {each.sentence}" for each in read_differences(entry))


def _text(said: Any) -> Text:
    # Text, because a plain string is read as markup, and a name may look like it.
    return Text(escape_controls(str(said), keep_layout=True))


def _say(sentence: str) -> None:
    sys.stdout.write(f"{escape_controls(typeable(sentence))}\n")
