"""An entry in words, for pages and the command line."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from watcher_server.audit.schemas import AuditEntryResponse


class Difference(NamedTuple):
    """What a field was and is, as texts; None where the object was not there before, or is not afterwards."""

    field: str
    before: str | None
    after: str | None

    @property
    def sentence(self) -> str:
        """Both in one line."""
        if self.before is None:
            return self.after or ""
        return f"{self.before} → {self.after}" if self.after is not None else f"was {self.before}"


def read_differences(entry: AuditEntryResponse) -> Sequence[Difference]:
    """The fields of an entry, in order of their names."""
    before, after = entry.before, entry.after
    return [
        Difference(
            name,
            None if before is None else _write(before.get(name)),
            None if after is None else _write(after.get(name)),
        )
        for name in sorted({**(before or {}), **(after or {})})
    ]


def _write(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def describe_object(entry: AuditEntryResponse) -> str:
    """What was changed: its kind, its name, and its id where that is another."""
    kind = entry.object_kind.replace("_", " ")
    has_id = entry.object_id not in {None, entry.object_name}
    return f"{kind} {entry.object_name} ({entry.object_id})" if has_id else f"{kind} {entry.object_name}"
