"""How well flags meet labelled faults."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from bench.series.labelled import Series


@dataclass
class Score:
    """Sums over series; scores add up.

    ``found`` of ``faults`` have a flag in them. An alert is a row of consecutive flags on one side; a right one touches
    a fault. ``false_flags`` lie in no fault, on ``false_days`` days (UTC; each series has its own days).
    """

    runs: int = 0
    judged: int = 0
    faults: int = 0
    found: int = 0
    right_alerts: int = 0
    wrong_alerts: int = 0
    false_flags: int = 0
    false_days: int = 0
    by_kind: dict[str, tuple[int, int]] = field(default_factory=dict)  # found, and how many there were

    def add(self, other: Self) -> None:
        """Count what another score counted, too."""
        self.runs += other.runs
        self.judged += other.judged
        self.faults += other.faults
        self.found += other.found
        self.right_alerts += other.right_alerts
        self.wrong_alerts += other.wrong_alerts
        self.false_flags += other.false_flags
        self.false_days += other.false_days
        for kind, (found, all_of_it) in other.by_kind.items():
            before = self.by_kind.get(kind, (0, 0))
            self.by_kind[kind] = (before[0] + found, before[1] + all_of_it)

    @property
    def false_per_thousand(self) -> float:
        """False flags in a thousand runs."""
        return 1000 * self.false_flags / self.runs


def score(series: Series, sides: Sequence[int], judged: int) -> Score:
    """Score the flags of a series: for each run 1 (too high), -1 (too low) or 0; ``judged`` runs had a verdict."""
    reach = [(fault.first - series.tolerance, fault.last + series.tolerance) for fault in series.faults]
    in_fault = [False] * len(sides)
    measured = Score(runs=len(sides), judged=judged, faults=len(series.faults))
    for fault, (first, last) in zip(series.faults, reach, strict=True):
        runs = range(max(0, first), min(len(sides), last + 1))
        found = any(sides[number] for number in runs)
        measured.found += found
        before = measured.by_kind.get(fault.kind, (0, 0))
        measured.by_kind[fault.kind] = (before[0] + found, before[1] + 1)
        for number in runs:
            in_fault[number] = True
    for first, last in _alerts(sides):
        if any(in_fault[first : last + 1]):
            measured.right_alerts += 1
        else:
            measured.wrong_alerts += 1
    false = [number for number, side in enumerate(sides) if side and not in_fault[number]]
    measured.false_flags = len(false)
    measured.false_days = len({series.starts[number].date() for number in false})
    return measured


def _alerts(sides: Sequence[int]) -> list[tuple[int, int]]:
    """The first and last run of each row of flags on one side."""
    alerts: list[tuple[int, int]] = []
    for number, side in enumerate(sides):
        if not side:
            continue
        if number and sides[number - 1] == side:
            alerts[-1] = (alerts[-1][0], number)
        else:
            alerts.append((number, number))
    return alerts
