"""How many standard deviations from the mean a new value may lie, when both are estimated from few values."""

import math
from functools import lru_cache
from statistics import NormalDist

# A higher z-score stands for a rate below 1 in 16,000, which no history could confirm. With five values, Student's t
# would keep to it by never alarming. So above this z-score the range grows in proportion to it.
_HIGHEST_PROMISED_Z = 4.0
# From this number of degrees of freedom on, the expansion is right to five digits.
_EXPANDED_FROM = 60


@lru_cache(maxsize=10_000)
def prediction_factor(z: float, count: int) -> float:
    """The half-width, in sample standard deviations, of the interval that holds the next value as often as z promises.

    With the mean and deviation of infinitely many values it is z; of ``count`` values (two at least) it is Student's t
    for ``count - 1`` degrees of freedom times ``sqrt(1 + 1 / count)``: Hahn and Meeker, Statistical Intervals (1991),
    section 4.8. The rate of false alarms of normally distributed values is then the same for any count.
    """
    promised = min(z, _HIGHEST_PROMISED_Z)
    return z / promised * student_t_quantile(promised, count - 1) * math.sqrt(1 + 1 / count)


def student_t_quantile(z: float, degrees: int) -> float:
    """The quantile of Student's t that lies at the same probability as z does under the normal distribution."""
    if degrees >= _EXPANDED_FROM:
        return _expand(z, degrees)
    inside = 2 * NormalDist().cdf(z) - 1
    low, high = z, 2 * z
    while _probability_within(high, degrees) < inside:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _probability_within(middle, degrees) < inside else (low, middle)
    return high


def _expand(z: float, degrees: int) -> float:
    """Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.5, to the third order."""
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def _probability_within(t: float, degrees: int) -> float:
    """The probability of a value between -t and t: the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(degrees))
    square = math.cos(angle) ** 2
    even = degrees % 2 == 0
    term = 1.0 if even else math.cos(angle)
    total = 0.0
    for factor in range(1 if even else 2, degrees, 2):
        total += term
        term *= square * factor / (factor + 1)
    if even:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + math.sin(angle) * total)
