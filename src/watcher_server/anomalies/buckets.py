"""Values of runs that are alike, of which new ones come and old ones go, without a pass over all of them."""

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque

# Of fewer values, hardly any can lie far enough out: see anomalies/baseline.py, which has the same fence in SQL.
_FENCED_FROM = 15


class Bucket:
    """The values of a sliding window: their mean and deviation, and their median and its deviation.

    The sums are of distances from the first value, so that large numbers with a small spread keep their digits.
    """

    def __init__(self) -> None:
        self._in_order: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []
        self._origin = 0.0
        self._sum = 0.0
        self._squares = 0.0

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, at: float, value: float) -> None:
        """Take a value that is newer than all others; ``at`` is in seconds."""
        if not self._sorted:
            self._origin, self._sum, self._squares = value, 0.0, 0.0
        self._in_order.append((at, value))
        insort(self._sorted, value)
        self._sum += value - self._origin
        self._squares += (value - self._origin) ** 2

    def forget_before(self, at: float) -> None:
        """Drop the values that are older than this."""
        while self._in_order and self._in_order[0][0] < at:
            _, value = self._in_order.popleft()
            del self._sorted[bisect_left(self._sorted, value)]
            self._sum -= value - self._origin
            self._squares -= (value - self._origin) ** 2

    def mean_and_deviation(self, outlier: float) -> tuple[int, float, float]:
        """How many values there are, their mean and sample standard deviation, without outliers where there are any.

        ``outlier`` is the least number of deviations at which a value is one.
        """
        count = len(self._sorted)
        mean, deviation = self._moments(count, self._sum, self._squares)
        if count < _FENCED_FROM:
            return count, mean, deviation
        fence = max(outlier, 2.9 + 0.22 * math.log(count) - 11.0 / count) * deviation + 1e-9 * abs(mean)
        first, last = bisect_left(self._sorted, mean - fence), bisect_right(self._sorted, mean + fence)
        out = self._sorted[:first] + self._sorted[last:]
        if out:
            total = self._sum - sum(value - self._origin for value in out)
            squares = self._squares - sum((value - self._origin) ** 2 for value in out)
            mean, deviation = self._moments(count - len(out), total, squares)
        return count, mean, deviation

    def _moments(self, count: int, total: float, squares: float) -> tuple[float, float]:
        if count < 2:  # noqa: PLR2004 - one value has no deviation
            return self._origin + total, 0.0
        variance = max(0.0, (squares - total * total / count) / (count - 1))
        return self._origin + total / count, math.sqrt(variance)

    def median_and_deviation(self) -> tuple[int, float, float]:
        """How many values there are, their median, and the median absolute deviation scaled to a standard deviation.

        Where more than half of the values are equal, the mean absolute deviation takes its place, as in
        anomalies/baseline.py.
        """
        ordered, count = self._sorted, len(self._sorted)
        if not count:
            return 0, 0.0, 0.0
        middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
        spread = 1.482602 * (self._nearest(middle, (count - 1) // 2) + self._nearest(middle, count // 2)) / 2
        if spread == 0:
            spread = 1.253314 * sum(abs(value - middle) for value in ordered) / count
        return count, middle, spread

    def _nearest(self, middle: float, rank: int) -> float:
        """The distance from the middle of the value that is nearest to it but for ``rank`` others.

        The nearest ``rank + 1`` values stand side by side: the first of them is found by halving.
        """
        ordered, wanted = self._sorted, rank + 1
        low, high = 0, len(ordered) - wanted
        while low < high:
            first = (low + high) // 2
            if middle - ordered[first] > ordered[first + wanted] - middle:
                low = first + 1
            else:
                high = first
        return max(middle - ordered[low], ordered[low + wanted - 1] - middle)
