"""What the time of a run adds to its level: its hour, its weekday, its hour of the week, and the ends of a month.

A median polish (Tukey, Exploratory Data Analysis, 1977, chapter 11) of days by hours. Effects of few observations are
shrunk towards zero by how much they stand out of the noise (empirical Bayes).
"""

import math
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from operator import sub
from typing import TypeVar

from watcher_server.anomalies.holidays import HOLIDAY

_DAYS_FOR_MONTH_ENDS = 45
NORMAL_MAD = 1.4826  # the standard deviation of a normal distribution, in units of its median absolute deviation
_MEDIAN_VARIANCE = math.pi / 2  # of a median of many normal values, in units of that of their mean
_HOURS = 24
_WEEK = 7
_Value = TypeVar("_Value", int, float)
_SUNDAY = 0  # of the number of a day, modulo seven
# With fewer days than this, the levels of weekdays are guesses.
_DAYS_FOR_WEEKDAYS = 8
_DAYS_FOR_HOURS = 3


@dataclass(slots=True)
class Effects:
    """What the time of a run adds to the level; ``optimism`` says by which factor noise exceeds the fitted noise."""

    hour: dict[int, float]
    weekday: dict[int, float]
    week_hour: dict[int, float]
    month_edge: dict[int, float]
    optimism: float
    holidays: frozenset[int] = frozenset()

    def at(self, day: int, hour: int) -> float:
        """The sum of the effects for a day (ordinal) and hour."""
        return self.at_all([day], [hour])[0]

    def at_all(self, days: Sequence[int], hours: Sequence[int]) -> list[float]:
        """The sums for many days and hours."""
        kinds = {day: self._kind(day) * _HOURS for day in set(days)}
        week_hours = [kinds[day] + hour for day, hour in zip(days, hours, strict=True)]
        sums = {key: self._at_week_hour(*divmod(key, _HOURS)) for key in set(week_hours)}
        if not self.month_edge:
            return [sums[key] for key in week_hours]
        edges = {day: self.month_edge.get(_month_edge(day), 0.0) for day in kinds}
        return [sums[key] + edges[day] for key, day in zip(week_hours, days, strict=True)]

    def _at_week_hour(self, kind: int, hour: int) -> float:
        in_week = self.week_hour.get(kind * _HOURS + hour, 0.0)
        return self.hour.get(hour, 0.0) + self.weekday.get(kind, 0.0) + in_week

    def _kind(self, day: int) -> int:
        kind = _kind(day, self.holidays)
        # The first holiday of a history is taken for a Sunday.
        return _SUNDAY if kind == HOLIDAY and kind not in self.weekday else kind


def _kind(day: int, holidays: frozenset[int]) -> int:
    """The weekday of a day (ordinal), or that of holidays."""
    return HOLIDAY if day in holidays else day % _WEEK


class Times:
    """When the runs of a history started, by day (ordinal) and hour, and which of them are alike.

    ``holidays`` (ordinals) are a weekday of their own.
    """

    def __init__(self, days: Sequence[int], hours: Sequence[int], holidays: frozenset[int]) -> None:
        self.days, self.hours, self.holidays = days, hours, holidays
        self.of_day, self.of_hour = _places(days), _places(hours)
        kinds = {day: _kind(day, holidays) * _HOURS for day in self.of_day}
        self.of_week_hour = _places([kinds[day] + hour for day, hour in zip(days, hours, strict=True)])


def _places(keys: Sequence[int]) -> dict[int, list[int]]:
    return _cells(keys, range(len(keys)))


def find_effects(values: Sequence[float], times: Times) -> Effects:
    """The effects of values whose runs started at these times."""
    days, hours = times.days, times.hours
    hour: dict[int, float] = {}
    day = _medians(times.of_day, values)
    cyclic = 1 < len(times.of_hour) <= len(values) / _DAYS_FOR_HOURS and len(day) >= _DAYS_FOR_HOURS
    if cyclic:
        for _ in range(2):
            hour = _medians(times.of_hour, _without(day, days, values))
            day = _medians(times.of_day, _without(hour, hours, values))
    weekday, month_edge = _day_effects(day, times.holidays)
    week_hour: dict[int, float] = {}
    optimism = 1.0
    if cyclic and weekday:
        rest = _without(hour, hours, _without(day, days, values))
        week_hour, optimism = _week_hour_effects(rest, times.of_week_hour)
    return Effects(hour, weekday, week_hour, month_edge, optimism, times.holidays)


def _without(effects: Mapping[int, float], keys: Sequence[int], values: Sequence[float]) -> list[float]:
    return list(map(sub, values, map(effects.__getitem__, keys)))


def _day_effects(levels: dict[int, float], holidays: frozenset[int]) -> tuple[dict[int, float], dict[int, float]]:
    """The effects of weekdays and of month ends, from the level of each day."""
    days = sorted(levels)
    if len(days) < _DAYS_FOR_WEEKDAYS or days[-1] - days[0] < _WEEK:
        return {}, {}
    series = [levels[day] for day in days]
    starts = [max(0, min(i - 3, len(series) - _WEEK)) for i in range(len(series))]
    rest = [value - median(series[start : start + _WEEK]) for value, start in zip(series, starts, strict=True)]
    cells = _cells([_kind(day, holidays) for day in days], rest)
    centers = {kind: median(cell) for kind, cell in cells.items()}
    again = [value - centers[kind] for kind, cell in cells.items() if len(cell) > 1 for value in cell]
    steps = map(float.__sub__, series[1:], series[:-1])
    noise = 1.2 * deviation(again) if len(again) >= _WEEK else deviation(steps) / math.sqrt(2)
    weekday, _ = _shrink(cells, centers, noise)
    if len(days) < _DAYS_FOR_MONTH_ENDS:
        return weekday, {}
    left = [value - weekday.get(_kind(day, holidays), 0.0) for day, value in zip(days, rest, strict=True)]
    return weekday, _month_effects(days, left)


def _month_effects(days: Sequence[int], rest: Sequence[float]) -> dict[int, float]:
    """The effects that every first, or every last, day of a month showed."""
    clear = 2 * deviation(rest)
    edges = _cells([_month_edge(day) for day in days], rest)
    seen = {edge: cell for edge, cell in edges.items() if edge and len(cell) > 1}
    return {edge: median(cell) for edge, cell in seen.items() if min(cell) > clear or max(cell) < -clear}


@cache
def _month_edge(day: int) -> int:
    """1 for the first day of a month, -1 for the last, 0 for any other."""
    on = date.fromordinal(day)
    if on.day == 1:
        return 1
    return -1 if on.day == monthrange(on.year, on.month)[1] else 0


def _week_hour_effects(rest: Sequence[float], places: Mapping[int, Sequence[int]]) -> tuple[dict[int, float], float]:
    cells = {key: sorted(map(rest.__getitem__, of)) for key, of in places.items() if len(of) > 1}
    if not cells:
        return {}, 1.0
    count = median(map(len, cells.values()))
    centers = {key: median(cell) for key, cell in cells.items()}
    noise = deviation([value - centers[key] for key, cell in cells.items() for value in cell])
    effects, weight = _shrink(cells, centers, noise * math.sqrt((count + 0.5) / (count - 0.5)))
    # The effects were fitted to the very values whose noise is measured, and are uncertain themselves.
    fitted = max(0.25, 1 - (2 * weight - weight**2) / count)
    return effects, math.sqrt((1 + _MEDIAN_VARIANCE * weight**2 / count) / fitted)


def _shrink(
    cells: Mapping[int, Sequence[float]], centers: Mapping[int, float], noise: float
) -> tuple[dict[int, float], float]:
    """The median of each cell, less what noise alone would make of it; and the share that was left."""
    error = _MEDIAN_VARIANCE * noise**2
    total = max(deviation(centers.values()), 1.25 * sum(map(abs, centers.values())) / len(centers)) ** 2
    true = max(0.0, total - error / median(map(len, cells.values())))
    if true == 0:
        return dict.fromkeys(cells, 0.0), 0.0
    shrunk = {key: center * true / (true + error / len(cells[key])) for key, center in centers.items()}
    size = sum(map(abs, centers.values()))
    return shrunk, sum(map(abs, shrunk.values())) / size if size else 0.0


def _cells(keys: Iterable[int], values: Iterable[_Value]) -> dict[int, list[_Value]]:
    cells: dict[int, list[_Value]] = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        cells[key].append(value)
    return cells


def _medians(places: Mapping[int, Sequence[int]], values: Sequence[float]) -> dict[int, float]:
    return {key: median(map(values.__getitem__, of)) for key, of in places.items()}


def median(values: Iterable[float]) -> float:
    """As that of the standard library, in a third of the time for the few values of a cell."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def deviation(values: Iterable[float]) -> float:
    """The standard deviation around zero, by the median of the absolute values."""
    sizes = list(map(abs, values))
    return NORMAL_MAD * median(sizes) if sizes else 0.0
