"""The threshold at which a rule would have alarmed at most so often on its own history.

A z-score promises a rate of false alarms for normal noise, and real metrics have heavier tails. So the tail is
measured: peaks over a threshold, learnt from the one-step errors of the rule and followed as they come (Siffer,
Fouque, Termier, Largouët: Anomaly Detection in Streams with Extreme Value Theory, 2017). Above the 95% quantile of
the errors the tail is taken for Pareto's: the logarithms of its peaks are exponential (Hill: A Simple General
Approach to Inference About the Tail of a Distribution, 1975). Two things differ. The size of the tail is estimated by
the median of its peaks, because the largest ones may be the very faults that the rule is to find. And a prior that is
worth 20 peaks keeps a short history from promising what it cannot know.

The constants were chosen on one half of the labelled series that docs/performance.md names.
"""

import math
from bisect import insort
from statistics import median

# What no budget goes below, in standard deviations.
LEAST_THRESHOLD = 3.0
_TAIL = 0.95
_PRIOR_SIZE, _PRIOR_PEAKS = 0.25, 20
_LARGEST_SIZE = 1.0
_LEAST_ERRORS = 10
# Errors that are no further apart are one alarm, as consecutive anomalies are one event.
_APART_SECONDS = 6 * 3600.0
_APART_STEPS = 1.5
_DAY_SECONDS = 86_400.0
MONTH_SECONDS = 30.44 * _DAY_SECONDS


class Errors:
    """By how much each run missed what was expected of it, in standard deviations, the oldest first."""

    def __init__(self) -> None:
        self._moments: list[float] = []
        self._sizes: list[float] = []
        self._ordered: list[float] = []

    def add(self, at: float, size: float) -> None:
        """Take the error of the next run; ``at`` is in seconds."""
        self._moments.append(at)
        self._sizes.append(size)
        insort(self._ordered, size)

    def threshold(self, alarms_per_month: float) -> float:
        """The threshold that this number of alarms a month would have crossed, at least ``LEAST_THRESHOLD``."""
        if len(self._sizes) < _LEAST_ERRORS:
            return LEAST_THRESHOLD
        # Below one standard deviation there is no tail.
        begin = max(1.0, self._ordered[int(_TAIL * len(self._ordered))])
        peaks = self._peaks(begin)
        allowed = alarms_per_month * self.span / MONTH_SECONDS
        if len(peaks) <= allowed:
            return max(LEAST_THRESHOLD, begin)
        measured = median(math.log(peak / begin) for peak in peaks) / math.log(2)
        size = (measured * len(peaks) + _PRIOR_SIZE * _PRIOR_PEAKS) / (len(peaks) + _PRIOR_PEAKS)
        tail = begin * math.pow(len(peaks) / allowed, min(size, _LARGEST_SIZE))
        # Once the history is long enough it says by itself what would have been crossed so often.
        seen = sorted(peaks, reverse=True)[int(allowed)] if allowed >= 1 else math.inf
        return max(LEAST_THRESHOLD, min(tail, seen))

    @property
    def span(self) -> float:
        """From the first error to the last, in seconds; a day at least."""
        return max(_DAY_SECONDS, self._moments[-1] - self._moments[0]) if self._moments else _DAY_SECONDS

    def due_after(self) -> float:
        """After how many seconds the threshold is to be found anew: when the history has grown by a tenth."""
        return max(_DAY_SECONDS, self.span / 10)

    def _peaks(self, begin: float) -> list[float]:
        """The largest of the errors above this that stand together."""
        apart = max(_APART_SECONDS, _APART_STEPS * self.span / len(self._sizes))
        peaks: list[float] = []
        latest = -math.inf
        for at, size in zip(self._moments, self._sizes, strict=True):
            if size <= begin:
                continue
            if at - latest <= apart:
                peaks[-1] = max(peaks[-1], size)
            else:
                peaks.append(size)
            latest = at
        return peaks
