"""The band in which a pipeline's next number is expected, learnt from a history with daily and weekly cycles.

A value is a level, plus the effects of its hour of the day, its weekday, its hour of the week, and of the first and the
last day of a month, on a scale (as it is, square root or logarithm) on which the noise is even:

- The effects come from a median polish (see :mod:`watcher_server.anomalies.seasonal_effects`).
- The level follows by robust exponential smoothing: a value that is further off than twice the usual noise moves it
  no more than one at twice the noise (Gelper, Fried, Croux: Robust Forecasting with Exponential and Holt-Winters
  Smoothing, 2010).
- The scale is the power of the largest likelihood (Box, Cox: An Analysis of Transformations, 1964).
- The spread is the median absolute deviation of the one-step forecasts, as in S-H-ESD (Hochenbaum, Vallis, Kejariwal:
  Automatic Anomaly Detection in the Cloud Via Statistical Learning, 2017), or their tail if that is wider.

What is learnt serves for a day or some, while the level follows: see :mod:`watcher_server.anomalies.forecasting`.
Every estimate is robust, so anomalies may stay in the history: a lasting change becomes the new level by itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from operator import itemgetter, sub

from watcher_server.anomalies.seasonal_effects import NORMAL_MAD, Effects, Times, deviation, find_effects, median

# A history shorter than a week does not show whether weekends are quiet.
MINIMUM_RUNS = 21
MINIMUM_DAYS = 7

_TAIL, _TAIL_Z = 0.97, 2.17  # of normal noise, 97% lies within 2.17 standard deviations
_GROSS, _MOST_GROSS = 4.5, 0.08  # forecasts further off are left out of the tail, unless there are many
_CLIP = 2.0  # how much of a forecast's error moves the level, in units of the noise
_NO_NOISE = 1e-9
_FIRST_WEEKS = 2
_RECENT = 400  # runs by which the power is chosen


@dataclass(frozen=True, slots=True)
class Observation:
    """One earlier run: when it started (UTC), and its number, never negative."""

    started_at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Band:
    """What is expected, in the unit of the metric; ``spread`` is half the width of the band divided by z."""

    center: float
    spread: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Power:
    """A scale: the function, its inverse, and the logarithm of its slope, by which scales are compared."""

    there: Callable[[float], float]
    back: Callable[[float], float]
    log_slope: Callable[[float], float]


_POWERS = (
    Power(lambda y: y, lambda x: max(0.0, x), lambda _: 0.0),
    Power(math.sqrt, lambda x: max(0.0, x) ** 2, lambda y: math.log(0.5 / math.sqrt(y + 0.375))),
    Power(math.log1p, lambda x: max(0.0, math.expm1(min(x, 50.0))), lambda y: -math.log1p(y)),
)


@dataclass(frozen=True, slots=True)
class Fit:
    """What was learnt from a history: level and errors are on the scale of the power.

    ``errors`` are those of one-step forecasts, while it is being learnt; ``weight`` and ``most`` say how much of an
    error moves the level; ``spread`` is the standard deviation of the next error, ``misfit`` the logarithm of the error
    to expect, comparable between powers.
    """

    power: Power
    effects: Effects
    level: float
    errors: list[float]
    weight: float
    most: float
    misfit: float
    spread: float = 0.0

    def band(self, level: float, at: datetime, z: float) -> Band:
        """The band around that level for a run that starts at this moment; ``z`` is half its width in spreads."""
        center, back = level + self.effects.at(at.toordinal(), at.hour), self.power.back
        lower, upper = back(center - z * self.spread), back(center + z * self.spread)
        return Band(center=back(center), spread=(upper - lower) / (2 * z), lower=lower, upper=upper)

    def follow(self, level: float, runs: Sequence[Observation]) -> float:
        """Where these runs, the oldest first, move the level."""
        effects = self.effects.at_all(*_when(runs))
        for run, effect in zip(runs, effects, strict=True):
            error = self.power.there(max(0.0, run.value)) - effect - level
            level += self.weight * min(max(error, -self.most), self.most)
        return level


def is_enough(history: Sequence[Observation], at: datetime) -> bool:
    """Whether this history, the oldest run first, says enough of a run that starts at this moment (UTC)."""
    return len(history) >= MINIMUM_RUNS and at - history[0].started_at >= timedelta(days=MINIMUM_DAYS)


def learn(history: Sequence[Observation], holidays: frozenset[date] = frozenset()) -> Fit:
    """What a history says that is enough.

    It is oldest first, of any rhythm and with any gaps; up to some thousand runs are fast, and 90 days show month ends.
    A run is in it whether or not it was flagged. ``holidays`` are a weekday of their own.
    """
    values = [max(0.0, run.value) for run in history]
    days, hours = _when(history)
    free = frozenset(map(date.toordinal, holidays))
    recent = slice(-_RECENT, None)
    times = Times(days[recent], hours[recent], free)
    # Where zeros are usual, log1p would exaggerate the step from 0 to 1.
    powers = _POWERS if values.count(0.0) * 10 < len(values) else _POWERS[:2]
    trials = [_fit(power, values[recent], times) for power in powers]
    best = min(trials, key=lambda trial: trial.misfit)
    fit = best if len(values) <= _RECENT else _fit(best.power, values, Times(days, hours, free))
    weeks = (days[-1] - days[0] + 1) / 7
    spread = _spread(fit.errors, weeks) * fit.effects.optimism * math.sqrt(1 + 2 / weeks)
    return replace(fit, spread=spread, errors=[])


def _when(runs: Sequence[Observation]) -> tuple[list[int], list[int]]:
    """The days (ordinals) and the hours in which the runs started."""
    return [run.started_at.toordinal() for run in runs], [run.started_at.hour for run in runs]


def _fit(power: Power, values: Sequence[float], times: Times) -> Fit:
    scaled = list(map(power.there, values))
    effects = find_effects(scaled, times)
    rest = list(map(sub, scaled, effects.at_all(times.days, times.hours)))
    noise = deviation(map(sub, rest[1:], rest[:-1])) / math.sqrt(2) or deviation(rest) or _NO_NOISE
    trials = [(weight, *_try(rest, weight, noise)) for weight in (0.02, 0.1, 0.3)]
    weight, level, errors, loss = min(trials, key=itemgetter(3))
    slope = sum(map(power.log_slope, values)) / len(values)
    misfit = math.log(max(loss * effects.optimism, 1e-12)) - slope
    return Fit(power, effects, level, errors, weight, _CLIP * noise, misfit)


def _try(values: Sequence[float], weight: float, noise: float) -> tuple[float, list[float], float]:
    """The level and the errors that this smoothing gives, without those of its first steps, and their mean size."""
    level, errors = _smooth(values, weight, _CLIP * noise)
    errors = errors[min(len(values) // 4, 50) :]
    most = 3 * noise if noise > _NO_NOISE else math.inf
    # A comparison is much faster than min() here, and this is most of what learning takes.
    return level, errors, sum([size if size < most else most for size in map(abs, errors)]) / len(errors)  # noqa: FURB136


def _smooth(values: Sequence[float], weight: float, most: float) -> tuple[float, list[float]]:
    """The level after all values, and by how much each of them missed the level before it."""
    level = median(values[: max(5, min(24, len(values) // 4))])
    errors = []
    for value in values:
        error = value - level
        errors.append(error)
        level += weight * (error if -most < error < most else math.copysign(most, error))
    return level, errors


def _spread(errors: Sequence[float], weeks: float) -> float:
    sizes = sorted(map(abs, errors))
    typical = NORMAL_MAD * sizes[len(sizes) // 2]
    if typical > 0 and weeks > _FIRST_WEEKS:
        kept = [size for size in sizes if size <= _GROSS * typical]
        if len(kept) >= (1 - _MOST_GROSS) * len(sizes):
            sizes = kept
    return max(typical, sizes[min(len(sizes) - 1, int(_TAIL * len(sizes)))] / _TAIL_Z)
