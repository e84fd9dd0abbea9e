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

Every estimate is robust, so anomalies may stay in the history: a lasting change becomes the new level by itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from operator import itemgetter
from statistics import median

from watcher_server.anomalies.seasonal_effects import NORMAL_MAD, Effects, deviation, find_effects

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
class _Power:
    """A scale: the function, its inverse, and the logarithm of its slope, by which scales are compared."""

    there: Callable[[float], float]
    back: Callable[[float], float]
    log_slope: Callable[[float], float]


_POWERS = (
    _Power(lambda y: y, lambda x: max(0.0, x), lambda _: 0.0),
    _Power(math.sqrt, lambda x: max(0.0, x) ** 2, lambda y: math.log(0.5 / math.sqrt(y + 0.375))),
    _Power(math.log1p, lambda x: max(0.0, math.expm1(min(x, 50.0))), lambda y: -math.log1p(y)),
)


@dataclass(frozen=True, slots=True)
class _Fit:
    power: _Power
    effects: Effects
    level: float
    errors: list[float]  # of one-step forecasts, on the scale of the power
    misfit: float  # the logarithm of the error to expect, comparable between powers


def expected_band(history: Sequence[Observation], at: datetime, z: float) -> Band | None:
    """The band for a run that starts at this moment (UTC), or None while there is too little to learn from.

    ``history`` is oldest first, of any rhythm and with any gaps; up to some thousand runs are fast, and 90 days show
    month ends. A run is in it whether or not it was flagged. ``z`` is half the width of the band in standard
    deviations.
    """
    if len(history) < MINIMUM_RUNS or at - history[0].started_at < timedelta(days=MINIMUM_DAYS):
        return None
    values = [max(0.0, run.value) for run in history]
    days = [run.started_at.toordinal() for run in history]
    hours = [run.started_at.hour for run in history]
    recent = slice(-_RECENT, None)
    # Where zeros are usual, log1p would exaggerate the step from 0 to 1.
    powers = _POWERS if values.count(0.0) * 10 < len(values) else _POWERS[:2]
    trials = [_fit(power, values[recent], days[recent], hours[recent]) for power in powers]
    best = min(trials, key=lambda trial: trial.misfit)
    fit = best if len(values) <= _RECENT else _fit(best.power, values, days, hours)
    weeks = (days[-1] - days[0] + 1) / 7
    spread = _spread(fit.errors, weeks) * fit.effects.optimism * math.sqrt(1 + 2 / weeks)
    center, back = fit.level + fit.effects.at(at.toordinal(), at.hour), fit.power.back
    lower, upper = back(center - z * spread), back(center + z * spread)
    return Band(center=back(center), spread=(upper - lower) / (2 * z), lower=lower, upper=upper)


def _fit(power: _Power, values: Sequence[float], days: Sequence[int], hours: Sequence[int]) -> _Fit:
    scaled = [power.there(value) for value in values]
    effects = find_effects(scaled, days, hours)
    at = cache(effects.at)
    rest = [value - at(day, hour) for value, day, hour in zip(scaled, days, hours, strict=True)]
    noise = deviation(map(float.__sub__, rest[1:], rest[:-1])) / math.sqrt(2) or deviation(rest) or _NO_NOISE
    level, errors, loss = min((_try(rest, weight, noise) for weight in (0.02, 0.1, 0.3)), key=itemgetter(2))
    slope = sum(map(power.log_slope, values)) / len(values)
    return _Fit(power, effects, level, errors, math.log(max(loss * effects.optimism, 1e-12)) - slope)


def _try(values: Sequence[float], weight: float, noise: float) -> tuple[float, list[float], float]:
    """The level and the errors that this smoothing gives, without those of its first steps, and their mean size."""
    level, errors = _smooth(values, weight, _CLIP * noise)
    errors = errors[min(len(values) // 4, 50) :]
    sizes = [min(abs(error), 3 * noise) if noise > _NO_NOISE else abs(error) for error in errors]
    return level, errors, sum(sizes) / len(sizes)


def _smooth(values: Sequence[float], weight: float, most: float) -> tuple[float, list[float]]:
    """The level after all values, and by how much each of them missed the level before it."""
    level = median(values[: max(5, min(24, len(values) // 4))])
    errors = []
    for value in values:
        error = value - level
        errors.append(error)
        level += weight * min(max(error, -most), most)
    return level, errors


def _spread(errors: Sequence[float], weeks: float) -> float:
    sizes = sorted(map(abs, errors))
    typical = NORMAL_MAD * sizes[len(sizes) // 2]
    if typical > 0 and weeks > _FIRST_WEEKS:
        kept = [size for size in sizes if size <= _GROSS * typical]
        if len(kept) >= (1 - _MOST_GROSS) * len(sizes):
            sizes = kept
    return max(typical, sizes[min(len(sizes) - 1, int(_TAIL * len(sizes)))] / _TAIL_Z)
