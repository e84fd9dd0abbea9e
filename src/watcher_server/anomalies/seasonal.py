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
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from hashlib import blake2b
from operator import itemgetter
from statistics import median
from struct import Struct

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

    ``errors`` are those of one-step forecasts; ``weight`` and ``most`` say how much of an error moves the level;
    ``spread`` is the standard deviation of the next error, ``misfit`` the logarithm of the error to expect, comparable
    between powers.
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
        """The band around that level for a run that starts at this moment."""
        center, back = level + self.effects.at(at.toordinal(), at.hour), self.power.back
        lower, upper = back(center - z * self.spread), back(center + z * self.spread)
        return Band(center=back(center), spread=(upper - lower) / (2 * z), lower=lower, upper=upper)


def expected_band(
    history: Sequence[Observation], at: datetime, z: float, holidays: frozenset[date] = frozenset()
) -> Band | None:
    """The band for a run that starts at this moment (UTC), or None while there is too little to learn from.

    ``history`` is oldest first, of any rhythm and with any gaps; up to some thousand runs are fast, and 90 days show
    month ends. A run is in it whether or not it was flagged. ``z`` is half the width of the band in standard
    deviations. ``holidays`` are a weekday of their own.
    """
    fit = learn(history, at, holidays)
    return None if fit is None else fit.band(fit.level, at, z)


def learn(history: Sequence[Observation], at: datetime, holidays: frozenset[date] = frozenset()) -> Fit | None:
    """What the history before this moment says, or None while it says too little; see :func:`expected_band`."""
    if len(history) < MINIMUM_RUNS or at - history[0].started_at < timedelta(days=MINIMUM_DAYS):
        return None
    values = [max(0.0, run.value) for run in history]
    days = [run.started_at.toordinal() for run in history]
    hours = [run.started_at.hour for run in history]
    recent = slice(-_RECENT, None)
    # Where zeros are usual, log1p would exaggerate the step from 0 to 1.
    powers = _POWERS if values.count(0.0) * 10 < len(values) else _POWERS[:2]
    free = frozenset(map(date.toordinal, holidays))
    trials = [_fit(power, values[recent], days[recent], hours[recent], free) for power in powers]
    best = min(trials, key=lambda trial: trial.misfit)
    fit = best if len(values) <= _RECENT else _fit(best.power, values, days, hours, free)
    weeks = (days[-1] - days[0] + 1) / 7
    return replace(fit, spread=_spread(fit.errors, weeks) * fit.effects.optimism * math.sqrt(1 + 2 / weeks))


# Some hundred bytes each; a chart shows 200 at most.
_MOST_KEPT = 20_000
_kept: dict[bytes, Band | None] = {}


def keep_band(
    history: Sequence[Observation], at: datetime, z: float, holidays: frozenset[date] = frozenset()
) -> Band | None:
    """As `expected_band`, which takes milliseconds; one that was computed from the same history is not again.

    The history itself is the key, so whatever changes it, in this process or another, makes another band.
    """
    key = blake2b(Struct(">dd").pack(at.timestamp(), z), digest_size=16)
    key.update(array("l", sorted(map(date.toordinal, holidays))))
    key.update(array("d", [run.value for run in history]))
    key.update(array("d", [run.started_at.timestamp() for run in history]))
    if key.digest() not in _kept:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[key.digest()] = expected_band(history, at, z, holidays)
    return _kept[key.digest()]


def _fit(
    power: Power, values: Sequence[float], days: Sequence[int], hours: Sequence[int], holidays: frozenset[int]
) -> Fit:
    scaled = [power.there(value) for value in values]
    effects = find_effects(scaled, days, hours, holidays)
    rest = list(map(float.__sub__, scaled, effects.at_all(days, hours)))
    noise = deviation(map(float.__sub__, rest[1:], rest[:-1])) / math.sqrt(2) or deviation(rest) or _NO_NOISE
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
    return level, errors, sum([min(most, size) for size in map(abs, errors)]) / len(errors)


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
