"""How commands print: tables, sentences, JSON and moments."""

import sys
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls


def console() -> Console:
    """As wide as the terminal; in a pipe or a file, wide enough that no line of a table is broken."""
    return Console(width=None if sys.stdout.isatty() else 200)


def plain_table(*columns: str) -> Table:
    """A table without lines."""
    return Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def say(sentence: str) -> None:
    """Print a sentence; the commands that it advises are written as they can be typed here."""
    sys.stdout.write(f"{escape_controls(typeable(sentence))}\n")


def complain(sentence: str) -> None:
    """As :func:`say`, on standard error."""
    sys.stderr.write(f"{escape_controls(typeable(sentence))}\n")


def print_json(model: Any, value: Any) -> None:
    """Print the value as the API answers it: as this model, or a list of it."""
    adapter = TypeAdapter(model)
    sys.stdout.write(adapter.dump_json(adapter.validate_python(value, from_attributes=True), indent=2).decode() + "\n")


def minute(moment: datetime) -> str:
    """The moment in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def second(moment: datetime) -> str:
    """The moment in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
