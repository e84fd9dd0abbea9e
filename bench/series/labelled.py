"""The shape that all labelled series have."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

# A Monday, so long ago that what is found in the series is never alerted.
FIRST_RUN = datetime(2025, 1, 6, tzinfo=UTC)


@dataclass(frozen=True)
class Fault:
    """The runs from ``first`` to ``last`` (both included, counted from 0) that are no usual ones, and why."""

    first: int
    last: int
    kind: str


@dataclass(frozen=True)
class Series:
    """Runs in order of their start (UTC), each with its number; ``values`` are whole and never negative.

    ``tolerance`` is how many runs beside a fault a flag may lie and still count as having found it.
    """

    name: str
    data_set: str
    starts: list[datetime]
    values: list[int]
    faults: list[Fault]
    tolerance: int = 0


def faults_of(labels: Iterable[bool]) -> list[Fault]:
    """Consecutive labelled runs are one fault."""
    faults = []
    first = None
    for number, labelled in enumerate([*labels, False]):
        if labelled and first is None:
            first = number
        elif not labelled and first is not None:
            faults.append(Fault(first, number - 1, "label"))
            first = None
    return faults
