"""What each method knows of a past that is gone through run by run; see :mod:`watcher_server.anomalies.replay`."""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple, Protocol

from watcher_server.anomalies.buckets import Bucket
from watcher_server.anomalies.collapse import LEAST_SHARE, LONG_EVENT, has_collapsed
from watcher_server.anomalies.expectations import ExpectedRange, expected_range, floored_range, least_std
from watcher_server.anomalies.holidays import HOLIDAY, find_holidays
from watcher_server.anomalies.quantiles import prediction_factor
from watcher_server.anomalies.rules import DAILY, WIDER, Method, Rule, Seasonality
from watcher_server.anomalies.seasonal import Fit, Observation, learn
from watcher_server.anomalies.series import LONGEST_DAYS, MOST_RUNS

_DAY_SECONDS = 86_400.0
_WEEK_SECONDS = 7 * _DAY_SECONDS
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
        ...

    def score(self, value: float) -> float:
        """The threshold up to which the value is flagged, in standard deviations; negative below the centre."""
        ...


class Learner(Protocol):
    """A method, and what it knows so far."""

    def expect(self, run: PastRun) -> Expected | None:
        """What is expected of this run; None while there is too little to learn from."""
        ...

    def learn(self, run: PastRun, side: int, within: ExpectedRange | None) -> None:
        """Take the run as the next one; ``side`` is 1 or -1 where it was flagged as too high or too low."""
        ...


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
class _Forecast:
    """What the seasonal method expects of a run at a moment."""

    rule: Rule
    fit: Fit
    level: float
    at: datetime

    def range_of(self, rule: Rule) -> ExpectedRange:
        band = self.fit.band(self.level, self.at, rule.z_threshold)
        return floored_range(rule, band.center, band.spread, band.lower, band.upper)

    def score(self, value: float) -> float:
        power = self.fit.power
        center = self.level + self.fit.effects.at(self.at.toordinal(), self.at.hour)
        distance = value - power.back(center)
        off = abs(power.there(max(0.0, value)) - center)
        reach = off / self.fit.spread if self.fit.spread > 0 else _ENDLESS
        return math.copysign(min(reach, abs(distance) / least_std(self.rule, power.back(center))), distance)


@dataclass
class _SeasonalLearner:
    """The method seasonal: its effects are learnt anew when the history has grown by a tenth, or after a week."""

    rule: Rule
    runs: list[PastRun] = field(default_factory=list)
    fit: Fit | None = None
    fitted_at: float = -math.inf
    level: float = 0.0
    level_of_hour: float = 0.0
    is_thinned: bool = False
    collapsed: list[PastRun] = field(default_factory=list)

    @property
    def _reach(self) -> float:
        return min(self.rule.lookback_days, LONGEST_DAYS) * _DAY_SECONDS

    def expect(self, run: PastRun) -> Expected | None:
        if len(self.runs) < self.rule.minimum_executions:
            return None
        at = run.started_at.timestamp()
        grown = min(at - self.runs[0].started_at.timestamp(), self._reach) / 10
        if self.fit is None or at - self.fitted_at >= max(_DAY_SECONDS, min(_WEEK_SECONDS, grown)):
            self._fit(run, at)
        return None if self.fit is None else _Forecast(self.rule, self.fit, self.level, run.started_at)

    def _fit(self, run: PastRun, at: float) -> None:
        since = at - self._reach
        first = next((place for place, one in enumerate(self.runs) if one.started_at.timestamp() >= since), 0)
        del self.runs[:first]
        self.is_thinned = len(self.runs) >= MOST_RUNS
        history = _last_of_hours(self.runs) if self.is_thinned else self.runs
        observations = [Observation(one.started_at, one.value) for one in history]
        day = run.started_at.date()
        free = find_holidays(self.rule.holidays, date.fromordinal(max(1, day.toordinal() - LONGEST_DAYS)), day)
        ahead = find_holidays(self.rule.holidays, day, date.fromordinal(day.toordinal() + 8))
        self.fit = learn(observations, run.started_at, free | ahead)
        if self.fit is not None:
            self.fitted_at, self.level = at, self.fit.level

    def learn(self, run: PastRun, side: int, within: ExpectedRange | None) -> None:
        if side < 0 and within is not None and run.value < LEAST_SHARE * within.mean:
            self.collapsed.append(run)
            return
        if len(self.collapsed) < LONG_EVENT:
            self.runs += self.collapsed
        self.collapsed = []
        if self.fit is not None:
            self._follow(self.fit, run)
        self.runs.append(run)

    def _follow(self, fit: Fit, run: PastRun) -> None:
        """Move the level; of a thinned history the last run of each hour does."""
        if not (self.is_thinned and self.runs and _hour(self.runs[-1].started_at) == _hour(run.started_at)):
            self.level_of_hour = self.level
        effect = fit.effects.at(run.started_at.toordinal(), run.started_at.hour)
        error = fit.power.there(max(0.0, run.value)) - effect - self.level_of_hour
        self.level = self.level_of_hour + fit.weight * min(max(error, -fit.most), fit.most)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _last_of_hours(runs: Sequence[PastRun]) -> list[PastRun]:
    return list({_hour(run.started_at): run for run in runs}.values())
