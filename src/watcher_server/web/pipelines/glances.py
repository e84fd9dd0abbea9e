"""Freshness and timeliness at a glance: how much of what a threshold allows is used up."""

from dataclasses import dataclass
from typing import Literal

from watcher_server.kit.durations import duration_text
from watcher_server.pipelines.summaries import Interval, Threshold

Level = Literal["fresh", "close", "over", "unlimited"]

# Without a warning threshold, "close" begins at this share of the threshold.
_CLOSE_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Glance:
    """How something stands by its threshold.

    ``share`` is how much of the threshold is used up, 1 for all of it or more; None without a threshold.
    ``muted_by`` is "pipeline" or "type" when the check is muted, ``days`` are those that count, None for all.
    """

    level: Level
    share: float | None
    used_seconds: float | None
    threshold: Interval | None
    muted_by: str | None
    days: str | None = None

    @property
    def title(self) -> str:
        """All of it in words."""
        muted = {None: "", "pipeline": "; muted", "type": "; muted by its type"}[self.muted_by]
        if self.threshold is None:
            return "No threshold" + muted
        whose = "its own" if self.threshold.own else "its type's"
        used = "Nothing yet" if self.used_seconds is None else duration_text(self.used_seconds)
        days = f", and only {self.days} counts" if self.days else ""
        return f"{used} of {self.threshold} ({whose}){days}{muted}"


def judge(threshold: Threshold, used: float | None, days: str | None = None) -> Glance:
    """How many seconds are used up by what the threshold allows."""
    share = None
    if threshold.failure is not None:
        share = min(1.0, (used or 0.0) / threshold.seconds) if threshold.seconds else 0.0
    return Glance(_level(threshold, used or 0.0), share, used, threshold.failure, threshold.muted_by, days)


def _level(threshold: Threshold, used: float) -> Level:
    limit, warned = threshold.seconds, threshold.warning_seconds
    if threshold.failure is None:
        return "unlimited"
    if limit is not None and used > limit:
        return "over"
    if warned is None and limit is not None:
        warned = _CLOSE_SHARE * limit
    return "close" if warned is not None and used > warned else "fresh"
