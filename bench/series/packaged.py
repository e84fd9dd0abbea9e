"""Labelled series that ship inside packages of PyPI, read from their files: the packages are never imported.

They are requirements of the bench alone (requirements/bench.in), and nothing of them is part of Watcher.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from bench.series.labelled import FIRST_RUN, Series, faults_of


@dataclass(frozen=True)
class _Source:
    name: str
    package: str
    files: Sequence[str]
    value: str
    label: str
    step: timedelta
    scale: float  # rows per unit
    offset: float  # rows added, for series that go below zero
    tolerance: int


_KDD = "datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_{}.csv"

# Yahoo's is hourly. The others are no pipelines: an electrocardiogram and a blood pressure, whose cycles have nothing
# to do with hours or weeks. They show what no method of ours is for. The tolerance is that of the KDD contest.
_SOURCES = (
    _Source("Yahoo", "sktime", ["datasets/data/yahoo/yahoo.csv"], "data", "label", timedelta(hours=1), 1, 1000, 0),
    _Source(
        "MIT-BIH", "sktime", ["datasets/data/mitdb/mitdb.csv"], "data", "label", timedelta(minutes=5), 1000, 1000, 100
    ),
    _Source(
        "KDD 135",
        "aeon",
        [_KDD.format("TRAIN"), _KDD.format("TEST")],
        "value",
        "is_anomaly",
        timedelta(minutes=5),
        100,
        0,
        100,
    ),
)


def packaged_series(names: Sequence[str]) -> tuple[list[Series], list[str]]:
    """The series of these names; and a line for each that is not there, which says how to get it."""
    found, missing = [], []
    for source in _SOURCES:
        if source.name not in names:
            continue
        files = _files(source)
        if files:
            found.append(_read(source, files))
        else:
            missing.append(
                f"Skipped {source.name}: the package {source.package} is not installed, or without its data;"
                " make bench installs it from requirements/bench.lock."
            )
    return found, missing


def _files(source: _Source) -> list[Path]:
    spec = find_spec(source.package)
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        files = [Path(place) / name for name in source.files]
        if all(file.is_file() for file in files):
            return files
    return []


def _read(source: _Source, files: Sequence[Path]) -> Series:
    rows = list(chain.from_iterable(_rows(file) for file in files))
    return Series(
        name=source.name,
        data_set=source.name,
        starts=[FIRST_RUN + number * source.step for number in range(len(rows))],
        values=[max(0, round(float(row[source.value]) * source.scale + source.offset)) for row in rows],
        faults=faults_of(float(row[source.label]) > 0 for row in rows),
        tolerance=source.tolerance,
    )


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))
