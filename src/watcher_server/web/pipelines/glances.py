"""Freshness and timeliness at a glance: how much of what a threshold allows is used up."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from watcher_server.kit.durations import duration_text

Level = Literal["fresh", "close", "stale", "overdue", "unlimited"]

# Without a warning of its own, what has used up so much of its threshold is close to it.
_CLOSE_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Pair:
    """A threshold that holds: a number and its unit; ``own`` unless it is the type's."""

    number: int
    datepart: str
    own: bool

    def __str__(self) -> str:
        return pair_text(self.number, self.datepart)


def pair_text(number: int, datepart: str) -> str:
    """``1 day``, ``2 days``."""
    return f"{number:,} {datepart}{'' if number == 1 else 's'}"


def choose_pair(
    own_number: int | None, own_datepart: str | None, type_number: int | None, type_datepart: str | None
) -> Pair | None:
    """The pair in force: the pipeline's own, else its type's, else none."""
    if own_number is not None and own_datepart is not None:
        return Pair(own_number, own_datepart, own=True)
    if type_number is not None and type_datepart is not None:
        return Pair(type_number, type_datepart, own=False)
    return None


@dataclass(frozen=True, slots=True)
class Glance:
    """How something stands by its threshold.

    ``share`` is how much of the threshold is used up, 1 for all of it or more; None without a threshold.
    ``muted_by`` is "pipeline" or "type" when nobody is told.
    """

    level: Level
    share: float | None
    used_seconds: float | None
    threshold: Pair | None
    muted_by: str | None

    @property
    def title(self) -> str:
        """All of it in words."""
        if self.threshold is None:
            return "No threshold" + self._muted()
        whose = "its own" if self.threshold.own else "its type's"
        used = "Nothing yet" if self.used_seconds is None else duration_text(self.used_seconds)
        return f"{used} of {self.threshold} ({whose})" + self._muted()

    def _muted(self) -> str:
        if self.muted_by is None:
            return ""
        return "; muted" if self.muted_by == "pipeline" else "; muted by its type"


@dataclass(frozen=True, slots=True)
class Limits:
    """A threshold as seconds from where it counts; None where there is none, or none that is ever reached."""

    pair: Pair | None
    seconds: float | None
    warning_seconds: float | None
    muted_by: str | None


def judge_freshness(limits: Limits, counted_from: datetime, now: datetime) -> Glance:
    """How old the data is, by what it may be."""
    return _judge(limits, (now - counted_from).total_seconds(), "stale")


def judge_timeliness(limits: Limits, last_seconds: float | None) -> Glance:
    """How long the last run took, or takes, by what it may."""
    return _judge(limits, last_seconds, "overdue")


def _judge(limits: Limits, used: float | None, beyond: Level) -> Glance:
    share = None
    if limits.pair is not None:
        share = min(1.0, (used or 0.0) / limits.seconds) if limits.seconds else 0.0
    return Glance(_level(limits, used or 0.0, beyond), share, used, limits.pair, limits.muted_by)


def _level(limits: Limits, used: float, beyond: Level) -> Level:
    if limits.pair is None:
        return "unlimited"
    if limits.seconds is not None and used > limits.seconds:
        return beyond
    warned = limits.warning_seconds
    if warned is None and limits.seconds is not None:
        warned = _CLOSE_SHARE * limits.seconds
    return "close" if warned is not None and used > warned else "fresh"


def muted_by(*, own: bool, of_type: bool) -> str | None:
    """Who muted a check, if anybody."""
    return "pipeline" if own else "type" if of_type else None
