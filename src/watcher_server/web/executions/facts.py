"""What the page of an execution says of its numbers: durations, thresholds, and the run before."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from watcher_server.kit.durations import duration_text

_PERCENT = 100
# By their columns, in the order in which people read them.
_METRICS = {
    "duration_seconds": "Duration",
    "inserts": "Inserts",
    "updates": "Updates",
    "soft_deletes": "Soft deletes",
    "total_rows": "Total rows",
    "throughput": "Rows per second",
}


@dataclass(frozen=True)
class Comparison:
    """One metric of the run and of the one before; ``change`` in percent, None where there is nothing to compare."""

    metric: str
    label: str
    value: float | None
    before: float | None
    flagged: bool

    @property
    def change(self) -> float | None:
        """By how many percent the value differs from the one before."""
        if self.value is None or not self.before:
            return None
        return _PERCENT * (self.value - self.before) / self.before


@dataclass(frozen=True)
class Timeliness:
    """How the run stands to its threshold: in words, and by the word of its colour (ok, overdue, unknown)."""

    word: str
    text: str


def compare(run: Row[Any], before: Row[Any] | None) -> Sequence[Comparison]:
    """Every metric of the run beside that of the run before."""
    return list(_compare(run, before))


def _compare(run: Row[Any], before: Row[Any] | None) -> Iterator[Comparison]:
    for metric, label in _METRICS.items():
        value = seconds_of(run, run.now) if metric == "duration_seconds" else getattr(run, metric)
        earlier = getattr(before, metric) if before is not None else None
        yield Comparison(metric, label, value, earlier, run.anomaly_flags.get(metric) is True)


def seconds_of(run: Row[Any], now: datetime) -> int:
    """How long the run took, or has been going, in whole seconds; never below zero."""
    if run.duration_seconds is not None:
        return int(run.duration_seconds)
    return max(0, int(((run.end_date or now) - run.start_date).total_seconds()))


def judge_timeliness(run: Row[Any]) -> Timeliness:
    """How the run stands to the threshold that holds for its pipeline today."""
    if run.threshold_number is None:
        return Timeliness("unknown", "no threshold")
    allowed = f"{run.threshold_number} {run.threshold_datepart}{'' if run.threshold_number == 1 else 's'}"
    whose = "its own" if run.threshold_own else f"that of the type {run.type_name}"
    if run.deadline is None:
        return Timeliness("ok", f"{allowed} ({whose})")
    left = (run.deadline - (run.end_date or run.now)).total_seconds()
    if left < 0:
        return Timeliness("overdue", f"{duration_text(-left)} over the {allowed} allowed ({whose})")
    relation = "left of" if run.end_date is None else "under"
    return Timeliness("ok", f"{duration_text(left)} {relation} the {allowed} allowed ({whose})")
