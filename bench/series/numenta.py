"""The labelled series of a folder, as the Numenta benchmark has them: no part of Watcher, and read where they are.

The folder has ``NAME.csv`` (timestamp, value) and ``windows.json`` (NAME: the labelled windows, both ends included).
"""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median

from bench.series.labelled import Fault, Series

PARTS = ("labelled, chosen on", "labelled, reported")
# Values are whole numbers of rows: one that is small by nature is scaled up.
_LEAST_MEDIAN = 1000


def labelled_series(folder: Path) -> list[Series]:
    """Every series by the hour; of the names in order, the first, third and so on are those that was chosen on."""
    windows = json.loads((folder / "windows.json").read_text())
    return [
        _read(folder / f"{name}.csv", PARTS[place % 2], windows[name]) for place, name in enumerate(sorted(windows))
    ]


def _read(file: Path, part: str, windows: Sequence[Sequence[str]]) -> Series:
    by_hour: dict[datetime, list[float]] = defaultdict(list)
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            by_hour[_hour(row["timestamp"])].append(float(row["value"]))
    starts = sorted(by_hour)
    values = [fmean(by_hour[start]) for start in starts]
    middle = median(map(abs, values)) or max(map(abs, values)) or 1.0
    scale = 1 if middle >= _LEAST_MEDIAN else 10 ** math.ceil(math.log10(_LEAST_MEDIAN / middle))
    faults = []
    for first, last in windows:
        inside = [place for place, start in enumerate(starts) if _hour(first) <= start <= _moment(last)]
        if inside:
            faults.append(Fault(inside[0], inside[-1], "label"))
    return Series(file.stem, part, starts, [max(0, round(value * scale)) for value in values], faults)


def _moment(written: str) -> datetime:
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


def _hour(written: str) -> datetime:
    return _moment(written).replace(minute=0, second=0, microsecond=0)
