"""What the seasonal method expects of a run: by what was learnt up to some day, and a level that has followed since.

Learning takes milliseconds, so it is done once a day (UTC), and of a history of a month or more each time that it has
grown by a fourteenth. The runs since then only move the level. When that day was follows from the run and its history
alone. So the judgement of a run, its band in a chart and a replay of the past expect the same of it.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from hashlib import blake2b
from operator import attrgetter

from watcher_server.anomalies.expectations import days_before
from watcher_server.anomalies.seasonal import Band, Fit, Observation, is_enough, learn

_started_at = attrgetter("started_at")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a run that starts at a moment, before anybody says how wide the band shall be."""

    fit: Fit
    level: float
    at: datetime

    def band(self, z: float) -> Band:
        """The band that is ``z`` spreads wide on both sides."""
        return self.fit.band(self.level, self.at, z)


def forecast(
    history: Sequence[Observation],
    at: datetime,
    holidays: frozenset[date] = frozenset(),
    lookback_days: int | None = None,
) -> Forecast | None:
    """What is expected of a run that starts at this moment (UTC), or None while there is too little to learn from.

    ``history`` is what is known of it, the oldest first; ``lookback_days`` is how far it reaches back, unless it begins
    at a fixed moment. ``holidays`` are a weekday of their own.
    """
    part = part_to_learn(history, at, lookback_days)
    if part is None:
        return None
    fit = _kept.learn(history[part], holidays)
    return Forecast(fit, fit.follow(fit.level, history[part.stop :]), at)


def part_to_learn(history: Sequence[Observation], at: datetime, lookback_days: int | None) -> slice | None:
    """The runs of a history from which is learnt what is expected at this moment; None while they are too few.

    They end with a day, and so they are the same for all runs until the next such day. Where that leaves too few, those
    up to the last midnight may be enough, or those up to the moment.
    """
    if not is_enough(history, at):
        return None
    known_days = (at - history[0].started_at).days
    for days in (max(1, min(known_days // 14, 7)), 1):
        day = at.toordinal() - at.toordinal() % days
        until = datetime.combine(date.fromordinal(max(1, day)), time(), UTC)
        # As far as the last run before the next such day may look back.
        begin = 0
        if lookback_days is not None:
            begin = bisect_left(history, days_before(until, lookback_days - days), key=_started_at)
        part = slice(begin, bisect_left(history, until, key=_started_at))
        if is_enough(history[part], at):
            return part
    return slice(0, len(history))


# Some eight kilobytes each. A chart of 200 runs needs four or so, if they are hourly.
_MOST_KEPT = 500


class _Kept:
    """What this process has learnt last, by the history itself: whatever changes that, anywhere, is learnt anew."""

    def __init__(self) -> None:
        self._fits: dict[bytes, Fit] = {}
        self._last: tuple[Sequence[Observation], frozenset[date], Fit] | None = None

    def learn(self, history: Sequence[Observation], holidays: frozenset[date]) -> Fit:
        """As `learn` of :mod:`watcher_server.anomalies.seasonal`."""
        # One band of a chart after the other is of the very same history, mostly.
        last = self._last
        if last is not None and last[:2] == (history, holidays):
            return last[2]
        key = _digest(history, holidays)
        fit = self._fits.get(key)
        if fit is None:
            if len(self._fits) >= _MOST_KEPT:
                self._fits.clear()
            fit = self._fits[key] = learn(history, holidays)
        self._last = history, holidays, fit
        return fit


_kept = _Kept()


def _digest(history: Sequence[Observation], holidays: frozenset[date]) -> bytes:
    digest = blake2b(array("l", sorted(map(date.toordinal, holidays))), digest_size=16)
    digest.update(array("d", [run.value for run in history]))
    digest.update(array("d", [run.started_at.timestamp() for run in history]))
    return digest.digest()
