"""Pipelines as they are in companies, with faults that are known because they were put there."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from bench.series.labelled import FIRST_RUN, Fault, Series

# Both by hour, in units of the usual number of rows: what a business writes on workdays and at weekends.
_WORKDAY = [0.12, 0.08, 0.06, 0.06, 0.08, 0.15, 0.35, 0.7, 1.1, 1.6, 1.9, 2.0]
_WORKDAY += [1.9, 1.8, 1.9, 2.0, 1.9, 1.7, 1.4, 1.1, 0.8, 0.55, 0.35, 0.2]
_WEEKEND = [0.3, 0.25, 0.2, 0.15, 0.12, 0.1, 0.1, 0.15, 0.25, 0.4, 0.5, 0.6]
_WEEKEND += [0.65, 0.65, 0.6, 0.6, 0.6, 0.6, 0.65, 0.7, 0.7, 0.65, 0.55, 0.4]
_BY_WEEKDAY = [1.2, 1.1, 1.0, 1.0, 0.9, 0.5, 0.4]
_USUAL_ROWS = 10_000
# From this mean on a normal distribution takes the place of Poisson's, whose draws take as long as they are large.
_MANY = 200

# By when a lasting change has to be found, and how long nothing else happens after it: (hourly, daily) runs.
_SETTLING = (48, 10)
_AFTER_SHIFT = (100, 20)
_GAP = (60, 14)

Mean = Callable[[datetime, float, Random], float]
Noise = Callable[[Random, float], float]


@dataclass(frozen=True)
class Family:
    """One kind of pipeline: its usual number at a start and share (0 to 1) of the series, and what happens to it."""

    name: str
    data_set: str
    runs: int
    step: timedelta
    mean: Mean
    noise: Noise
    faults: Sequence[str]

    @property
    def daily(self) -> bool:
        """Whether it runs once a day, not every hour."""
        return self.step >= timedelta(days=1)


def _gaussian(share: float) -> Noise:
    return lambda dice, mean: max(0.0, mean * (1 + dice.gauss(0, share)))


def _lognormal(sigma: float) -> Noise:
    return lambda dice, mean: mean * math.exp(dice.gauss(0, sigma) - sigma**2 / 2)


def _poisson(dice: Random, mean: float) -> float:
    if mean > _MANY:
        return max(0.0, dice.gauss(mean, math.sqrt(mean)))
    limit, product, count = math.exp(-mean), dice.random(), 0
    while product > limit:
        product *= dice.random()
        count += 1
    return float(count)


def _sine(start: datetime, amplitude: float) -> float:
    return 1 + amplitude * math.sin((start.hour - 7) / 24 * 2 * math.pi)


def _is_weekend(start: datetime) -> bool:
    return start.weekday() >= 5


def _business(start: datetime) -> float:
    return (_WEEKEND if _is_weekend(start) else _WORKDAY)[start.hour]


def _waves(start: datetime) -> float:
    week_hour = start.hour + 24 * start.weekday()
    return 3 + math.sin(start.hour / 24 * 2 * math.pi) + 0.8 * math.sin(week_hour / 168 * 2 * math.pi)


def _is_month_end(start: datetime) -> bool:
    return (start + timedelta(days=1)).day == 1


def _mostly_zero(_start: datetime, _share: float, dice: Random) -> float:
    return 0.0 if dice.random() < 0.7 else dice.choice([3.0, 8.0, 15.0, 20.0, 30.0])


def _rows(shape: Callable[[datetime, float], float]) -> Mean:
    return lambda start, share, _dice: _USUAL_ROWS * shape(start, share)


_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_USUAL_FAULTS = ("missing", "partial", "duplicate", "spike", "outage", "missing", "partial", "duplicate")
_SHIFT_FAULTS = ("missing", "partial", "shift", "duplicate", "spike")


def _hourly(
    name: str, data_set: str, mean: Mean, noise: Noise, *, runs: int = 1000, faults: Sequence[str] = _USUAL_FAULTS
) -> Family:
    return Family(name, data_set, runs, _HOUR, mean, noise, faults)


def _daily(
    name: str, data_set: str, mean: Mean, noise: Noise, *, runs: int = 365, faults: Sequence[str] = _USUAL_FAULTS
) -> Family:
    return Family(name, data_set, runs, _DAY, mean, noise, faults)


DAILY_CYCLE = "hourly, daily cycle"
WEEKLY_CYCLE = "hourly, daily and weekly cycle"
GROWTH = "hourly, growth"
SHIFT = "hourly, level shift"

FAMILIES = (
    _hourly("sine", DAILY_CYCLE, _rows(lambda t, _: _sine(t, 0.6)), _gaussian(0.1)),
    _hourly("workdays", DAILY_CYCLE, _rows(lambda t, _: _WORKDAY[t.hour]), _lognormal(0.2)),
    _hourly(
        "quiet weekend",
        WEEKLY_CYCLE,
        _rows(lambda t, _: _sine(t, 0.6) * (0.4 if _is_weekend(t) else 1)),
        _gaussian(0.08),
    ),
    _hourly("business", WEEKLY_CYCLE, _rows(lambda t, _: _business(t)), _lognormal(0.15), runs=1300),
    _hourly("two waves", WEEKLY_CYCLE, _rows(lambda t, _: _waves(t)), _gaussian(0.05)),
    _hourly("few rows", WEEKLY_CYCLE, lambda t, _s, _d: 40 * _business(t) + 3, _poisson, runs=1300),
    _hourly("linear business", GROWTH, _rows(lambda t, share: (1 + share) * _business(t)), _lognormal(0.12)),
    _hourly(
        "doubling each month",
        GROWTH,
        _rows(lambda t, share: 2 ** (1.8 * share) * _sine(t, 0.5) * (0.6 if _is_weekend(t) else 1)),
        _gaussian(0.08),
        runs=1300,
    ),
    _hourly("linear", GROWTH, _rows(lambda _, share: 1 + share), _gaussian(0.08)),
    _hourly(
        "seconds", "hourly, duration", lambda t, _s, _d: 120 * _sine(t, 0.3), _lognormal(0.2), faults=("slow",) * 6
    ),
    _hourly("mostly zero", "hourly, mostly zero", _mostly_zero, _poisson, faults=("flood",) * 6),
    _hourly("even shift", SHIFT, _rows(lambda _t, _: 1.0), _gaussian(0.1), faults=_SHIFT_FAULTS),
    _hourly(
        "business shift", SHIFT, _rows(lambda t, _: _business(t)), _lognormal(0.12), runs=1300, faults=_SHIFT_FAULTS
    ),
    _daily("weekend", "daily, weekly cycle", _rows(lambda t, _: 0.3 if _is_weekend(t) else 1), _lognormal(0.1)),
    _daily("each weekday", "daily, weekly cycle", _rows(lambda t, _: _BY_WEEKDAY[t.weekday()]), _gaussian(0.08)),
    _daily(
        "month end",
        "daily, month-end peak",
        _rows(lambda t, _: 3 if _is_month_end(t) else 1),
        _gaussian(0.08),
        runs=540,
    ),
    _daily(
        "linear",
        "daily, growth",
        _rows(lambda t, share: (1 + 2 * share) * (0.5 if _is_weekend(t) else 1)),
        _gaussian(0.08),
    ),
    _daily("exponential", "daily, growth", _rows(lambda _, share: 2 ** (3 * share)), _lognormal(0.1)),
    _daily("even", "daily, even", _rows(lambda _t, _: 1.0), _gaussian(0.05)),
    _daily("even shift", "daily, level shift", _rows(lambda _t, _: 1.0), _gaussian(0.08), faults=_SHIFT_FAULTS),
    _daily(
        "weekend shift",
        "daily, level shift",
        _rows(lambda t, _: 0.3 if _is_weekend(t) else 1),
        _lognormal(0.1),
        faults=_SHIFT_FAULTS,
    ),
)

# What a fault makes of the number that would have been right.
_FACTORS: dict[str, Callable[[Random], float]] = {
    "missing": lambda _: 0.0,
    "outage": lambda _: 0.0,
    "partial": lambda dice: dice.uniform(0.3, 0.7),
    "duplicate": lambda _: 2.0,
    "spike": lambda dice: dice.uniform(4, 10),
    "slow": lambda dice: dice.uniform(2.5, 6),
    "shift": lambda dice: dice.choice([0.45, 0.55, 1.7, 2.2]),
}


def generate(family: Family, seed: int, *, with_faults: bool = True) -> Series:
    """One series of the family; the same seed gives the same series. No fault lies in its first 30%."""
    dice = Random(f"{family.data_set} {family.name} {seed}")  # noqa: S311 - a repeatable series, no secret
    starts = [FIRST_RUN + number * family.step + timedelta(minutes=dice.uniform(0, 4)) for number in range(family.runs)]
    values = []
    for number, start in enumerate(starts):
        values.append(family.noise(dice, family.mean(start, number / family.runs, dice)))
    faults = _place_faults(family, dice) if with_faults else []
    for fault in faults:
        _apply(fault, values, dice)
    return Series(
        name=f"{family.name}, seed {seed}",
        data_set=family.data_set if with_faults else f"no fault, {'daily' if family.daily else 'hourly'}",
        starts=starts,
        values=[round(value) for value in values],
        faults=faults,
    )


def _place_faults(family: Family, dice: Random) -> list[Fault]:
    """Where each fault of the family goes, in an order of its own; a lasting shift comes in the middle."""
    kinds = [kind for kind in family.faults if kind != "shift"]
    dice.shuffle(kinds)
    if "shift" in family.faults:
        kinds.insert(len(kinds) // 2, "shift")
    faults = []
    at = round(0.3 * family.runs)
    for kind in kinds:
        at += _GAP[family.daily] + dice.randrange(_GAP[family.daily])
        if at >= family.runs - 12:
            break
        faults.append(Fault(at, at + _length(kind, dice, daily=family.daily) - 1, kind))
        at = faults[-1].last + (_AFTER_SHIFT[family.daily] if kind == "shift" else 0)
    return faults


def _length(kind: str, dice: Random, *, daily: bool) -> int:
    if kind == "shift":
        return _SETTLING[daily]
    if kind == "outage":
        return 3 if daily else dice.randrange(3, 9)
    return 1


def _apply(fault: Fault, values: list[float], dice: Random) -> None:
    if fault.kind == "flood":
        values[fault.first] = dice.uniform(200, 600)
        return
    factor = _FACTORS[fault.kind](dice)
    # A shift lasts: what is labelled is the time in which it is news.
    last = len(values) - 1 if fault.kind == "shift" else fault.last
    for number in range(fault.first, last + 1):
        values[number] *= factor
