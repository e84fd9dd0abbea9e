"""What each method knows of a past that is gone through run by run; see :mod:`watcher_server.anomalies.replay`."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from operator import attrgetter
from typing import NamedTuple, Protocol

from watcher_server.anomalies.buckets import Bucket
from watcher_server.anomalies.collapse import LEAST_SHARE, LONG_EVENT, has_collapsed
from watcher_server.anomalies.expectations import ExpectedRange, days_before, expected_range, floored_range, least_std
from watcher_server.anomalies.forecasting import Forecast, part_to_learn
from watcher_server.anomalies.holidays import HOLIDAY, find_holidays, holidays_around
from watcher_server.anomalies.quantiles import prediction_factor
from watcher_server.anomalies.rules import DAILY, WIDER, Method, Rule, Seasonality
from watcher_server.anomalies.seasonal import Fit, Observation, learn
from watcher_server.anomalies.series import LONGEST_DAYS, MOST_RUNS

_DAY_SECONDS = 86_400.0
_Z_STEPS = (1.0, 2.0, 3.0, 4.0)
_ENDLESS = 1e6
_LATEST_OF_EVENT = 20


class PastRun(NamedTuple):
    """A run that ended successfully, and its number."""

    id: int
    started_at: datetime
    ended_at: datetime
    value: float


class Expected(Protocol):
    """What is expected of the next value."""

    def range_of(self, rule: Rule) -> ExpectedRange | None:
        """The range by the threshold of that rule."""

    def score(self, value: float) -> float:
        """The threshold up to which the value is flagged, in standard deviations; negative below the centre."""


class Learner(Protocol):
    """A method, and what it knows so far."""

    def expect(self, run: PastRun) -> Expected | None:
        """What is expected of this run; None while there is too little to learn from."""

    def learn(self, run: PastRun, side: int, within: ExpectedRange | None) -> None:
        """Take the run as the next one; ``side`` is 1 or -1 where it was flagged as too high or too low."""


def learner_for(rule: Rule) -> Learner:
    """A learner of the rule's method that knows nothing yet."""
    return _SeasonalLearner(rule) if rule.method == Method.SEASONAL else _BaselineLearner(rule)


@dataclass(frozen=True, slots=True)
class _Baseline:
    """A centre and a deviation, learnt from ``count`` values."""

    rule: Rule
    count: int
    center: float
    spread: float

    def range_of(self, rule: Rule) -> ExpectedRange | None:
        return expected_range(rule, self.count, self.center, self.spread)

    def score(self, value: float) -> float:
        distance = value - self.center
        reach = _z_of(abs(distance) / self.spread, self.count) if self.spread > 0 else _ENDLESS
        return math.copysign(min(reach, abs(distance) / least_std(self.rule, self.center)), distance)


def _z_of(reach: float, count: int) -> float:
    """The threshold whose prediction interval is that wide: the inverse of :func:`prediction_factor`, by steps."""
    factors = [prediction_factor(z, count) for z in _Z_STEPS]
    place = bisect_right(factors, reach)
    if place == 0:
        return reach / factors[0]
    if place == len(factors):
        return _Z_STEPS[-1] * reach / factors[-1]
    low, high = factors[place - 1], factors[place]
    return _Z_STEPS[place - 1] + (reach - low) / (high - low)


@dataclass
class _BaselineLearner:
    """The methods zscore and mad: windows of runs that are alike, from the rule's seasonality to the widest."""

    rule: Rule
    kinds: list[Seasonality] = field(init=False)
    windows: list[dict[int, Bucket]] = field(init=False)
    event: list[PastRun] = field(default_factory=list)
    event_side: int = 0
    collapsed_at: float | None = None

    def __post_init__(self) -> None:
        self.kinds = [Seasonality(self.rule.seasonality)]
        while self.kinds[-1] in WIDER:
            self.kinds.append(WIDER[self.kinds[-1]])
        self.windows = [defaultdict(Bucket) for _ in self.kinds]

    def expect(self, run: PastRun) -> Expected | None:
        looks_from = run.ended_at.timestamp() if self.collapsed_at is None else self.collapsed_at
        since = looks_from - self.rule.lookback_days * _DAY_SECONDS
        for kind, windows in zip(self.kinds, self.windows, strict=True):
            bucket = windows[self._key(kind, run.started_at)]
            bucket.forget_before(since)
            if len(bucket) >= self.rule.minimum_executions:
                if self.rule.method == Method.MAD:
                    return _Baseline(self.rule, *bucket.median_and_deviation())
                return _Baseline(self.rule, *bucket.mean_and_deviation(self.rule.outlier))
            if kind in DAILY and _is_holiday(self.rule, run.started_at.date()):
                return None
        return None

    def learn(self, run: PastRun, side: int, within: ExpectedRange | None) -> None:
        if not side or within is None:
            self._end_event()
            self._add(run)
            return
        if side != self.event_side:
            self._end_event()
            self.event_side = side
        self.event.append(run)
        if has_collapsed([one.value for one in self.event[-_LATEST_OF_EVENT:]], within.mean):
            self.collapsed_at = self.collapsed_at or run.ended_at.timestamp()
        elif self.rule.new_normal_after is not None and len(self.event) >= self.rule.new_normal_after:
            # The new normal: nothing from before the event counts any more.
            self.windows = [defaultdict(Bucket) for _ in self.kinds]
            for one in self.event:
                self._add(one)
            self._end_event()

    def _end_event(self) -> None:
        self.event, self.event_side, self.collapsed_at = [], 0, None

    def _add(self, run: PastRun) -> None:
        at = run.ended_at.timestamp()
        for kind, windows in zip(self.kinds, self.windows, strict=True):
            windows[self._key(kind, run.started_at)].add(at, run.value)

    def _key(self, kind: Seasonality, at: datetime) -> int:
        if kind is Seasonality.NONE:
            return 0
        if kind is Seasonality.HOUR:
            return at.hour
        day = HOLIDAY if self.rule.holidays and _is_holiday(self.rule, at.date()) else at.isoweekday()
        return day if kind is Seasonality.WEEKDAY else day * 24 + at.hour


def _is_holiday(rule: Rule, day: date) -> bool:
    return bool(find_holidays(rule.holidays, day, day))


@dataclass(frozen=True, slots=True)
class _Seasonal:
    rule: Rule
    forecast: Forecast

    def range_of(self, rule: Rule) -> ExpectedRange:
        band = self.forecast.band(rule.z_threshold)
        return floored_range(rule, band.center, band.spread, band.lower, band.upper)

    def score(self, value: float) -> float:
        fit, at = self.forecast.fit, self.forecast.at
        center = self.forecast.level + fit.effects.at(at.toordinal(), at.hour)
        distance = value - fit.power.back(center)
        off = abs(fit.power.there(max(0.0, value)) - center)
        reach = off / fit.spread if fit.spread > 0 else _ENDLESS
        return math.copysign(min(reach, abs(distance) / least_std(self.rule, fit.power.back(center))), distance)


@dataclass
class _SeasonalLearner:
    """The method seasonal: as :func:`watcher_server.anomalies.forecasting.forecast`, with the level kept."""

    rule: Rule
    runs: list[Observation] = field(default_factory=list)
    # Of each hour the last run: the history, while there are many runs.
    hours: list[Observation] = field(default_factory=list)
    is_thinned: bool = False
    fit: Fit | None = None
    learnt: tuple[datetime, datetime, bool, frozenset[date]] | None = None
    level: float = 0.0
    level_before: float = 0.0
    event_side: int = 0
    event_runs: int = 0
    collapsed: list[Observation] = field(default_factory=list)

    def expect(self, run: PastRun) -> Expected | None:
        days = min(self.rule.lookback_days, LONGEST_DAYS)
        since = days_before(run.ended_at, days)
        for runs in (self.runs, self.hours):
            del runs[: bisect_left(runs, since, key=attrgetter("started_at"))]
        self.is_thinned = len(self.runs) >= MOST_RUNS
        history = self.hours if self.is_thinned else self.runs
        part = part_to_learn(history, run.started_at, days) if len(history) >= self.rule.minimum_executions else None
        if part is None:
            self.fit = None
            return None
        # Runs are only added at the end, so the first and the last one say whether these are the same.
        holidays = holidays_around(self.rule.holidays, run.started_at.date())
        learnt = history[part.start].started_at, history[part.stop - 1].started_at, self.is_thinned, holidays
        if self.fit is None or learnt != self.learnt:
            fit = learn(history[part], holidays)
            newer = history[part.stop :]
            self.level_before = fit.follow(fit.level, newer[:-1])
            self.fit, self.level, self.learnt = fit, fit.follow(self.level_before, newer[-1:]), learnt
        return _Seasonal(self.rule, Forecast(self.fit, self.level, run.started_at))

    def learn(self, run: PastRun, side: int, within: ExpectedRange | None) -> None:
        seen = Observation(run.started_at, run.value)
        goes_on = side != 0 and side == self.event_side
        event_runs = self.event_runs + goes_on
        if side < 0 and within is not None and run.value < LEAST_SHARE * within.mean:
            self.collapsed.append(seen)
        else:
            # The runs of a short event are outliers; those of a long one are never learnt.
            self._add([*self.collapsed, seen] if event_runs < LONG_EVENT else [seen])
            self.collapsed = []
        self.event_side, self.event_runs = side, event_runs if goes_on else abs(side)

    def _add(self, runs: Sequence[Observation]) -> None:
        for run in runs:
            same_hour = bool(self.hours) and _hour(self.hours[-1].started_at) == _hour(run.started_at)
            if same_hour:
                self.hours.pop()
            self.hours.append(run)
            self.runs.append(run)
            if self.fit is not None:
                # Of a thinned history the last run of each hour moves the level.
                if not (same_hour and self.is_thinned):
                    self.level_before = self.level
                self.level = self.fit.follow(self.level_before, [run])


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
