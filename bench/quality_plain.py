"""The plain rule that many begin with, to compare with: no part of the product."""

import math
from datetime import timedelta

from bench.series.labelled import Series

Z = 3.0
LOOKBACK = timedelta(days=30)
MINIMUM = 30


def plain_zscore(series: Series, *, minimum: int = MINIMUM) -> tuple[list[int], int]:
    """For each run 1, -1 or 0 (too high, too low, neither), and how many were judged.

    Mean and sample standard deviation of the last 30 days' runs of the same hour, whatever was said of them: without a
    floor, without widening for few values, without other hours where there are too few.
    """
    sides, judged = [], 0
    for number, value in enumerate(series.values):
        baseline = _same_hour(series, number)
        sides.append(0)
        if len(baseline) < minimum:
            continue
        judged += 1
        mean = math.fsum(baseline) / len(baseline)
        std = math.sqrt(math.fsum((earlier - mean) ** 2 for earlier in baseline) / (len(baseline) - 1))
        # Of equal values the plain rule can say nothing: no variance, no verdict.
        if std and not max(0.0, mean - Z * std) <= value <= mean + Z * std:
            sides[number] = 1 if value > mean else -1
    return sides, judged


def _same_hour(series: Series, number: int) -> list[int]:
    start = series.starts[number]
    since = start - LOOKBACK
    earlier = []
    for before in range(number - 1, -1, -1):
        if series.starts[before] < since:
            break
        if series.starts[before].hour == start.hour:
            earlier.append(series.values[before])
    return earlier
