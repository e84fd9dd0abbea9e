"""The metadata of an execution as rows that people can read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# What is longer is read as JSON, over the API.
_MOST_ENTRIES = 300
_LONGEST_TEXT = 4_000


@dataclass(frozen=True)
class Entry:
    """One value; ``path`` names where it is: ``source.files[2].name``."""

    path: str
    text: str


@dataclass(frozen=True)
class Metadata:
    """The values in their order; ``is_cut`` says that there is more than is shown."""

    entries: list[Entry]
    is_cut: bool


def read_metadata(value: dict[str, Any] | None) -> Metadata:
    """Every value of nested JSON with its path."""
    entries: list[Entry] = []
    is_cut = False
    for path, leaf in _walk(value or {}):
        if len(entries) == _MOST_ENTRIES:
            return Metadata(entries, is_cut=True)
        shown = leaf if isinstance(leaf, str) else json.dumps(leaf)
        is_cut = is_cut or len(shown) > _LONGEST_TEXT
        entries.append(Entry(path, shown if len(shown) <= _LONGEST_TEXT else shown[:_LONGEST_TEXT] + "…"))
    return Metadata(entries, is_cut)


def _walk(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The leaves with their paths, in order; with a stack of its own, for nesting may be deep."""
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        path, current = pending.pop()
        if isinstance(current, dict) and current:
            children = [(f"{path}.{key}" if path else str(key), child) for key, child in current.items()]
            pending.extend(reversed(children))
        elif isinstance(current, list) and current:
            pending.extend(reversed([(f"{path}[{place}]", child) for place, child in enumerate(current)]))
        elif path:
            yield path, current
