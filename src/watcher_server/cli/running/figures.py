"""What a command says that it did: in its output, or in the file that WATCHER_RESULT names."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COUNTS = ("inserts", "updates", "soft_deletes", "total_rows")
_LONGEST_WATERMARK = 50
# A line that never ends is looked at in pieces of this size.
_LONGEST_LINE = 64 * 1024


class OutputReader:
    """Looks for the numbers line by line, as the output passes; the last line that has one wins."""

    def __init__(self, pattern: "re.Pattern[str]") -> None:
        self._pattern = pattern
        self._begun = b""
        self.found: dict[str, Any] = {}

    def read(self, data: bytes) -> None:
        """Look at a piece of output."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._look(line)
        if len(self._begun) > _LONGEST_LINE:
            self.finish()

    def finish(self) -> None:
        """Look at the line that has not ended."""
        self._look(self._begun)
        self._begun = b""

    def _look(self, line: bytes) -> None:
        match = self._pattern.search(line.decode("utf-8", "replace"))
        if match is not None:
            self.found |= valid_figures(match.groupdict())


def valid_figures(given: Mapping[str, Any]) -> dict[str, Any]:
    """What can be stored of the numbers, the watermark and ``nothing_to_do``; the rest must not cost the report."""
    figures: dict[str, Any] = {}
    for name in COUNTS:
        number = _count(given.get(name))
        if number is not None:
            figures[name] = number
    if given.get("nothing_to_do") is True:
        figures["nothing_to_do"] = True
    watermark = given.get("watermark")
    if isinstance(watermark, (str, int)) and not isinstance(watermark, bool):
        text = str(watermark)
        if text and len(text) <= _LONGEST_WATERMARK and "\0" not in text:
            figures["watermark"] = text
    return figures


def _count(value: Any) -> int | None:
    if isinstance(value, str):
        # As people write it: 1,250 or 1_250 or 1'250.
        digits = re.sub(r"[\s,_']", "", value)
        value = int(digits) if re.fullmatch("[0-9]{1,19}", digits) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if is_count else None


def read_result(path: Path) -> dict[str, Any]:
    """What the command wrote into its file; nothing when it wrote none, or no JSON object."""
    try:
        with path.open("rb") as file:
            given = json.loads(file.read(64 * 1024))
    except (OSError, ValueError, RecursionError):
        return {}
    return valid_figures(given) if isinstance(given, dict) else {}
