"""Student's t and the prediction interval: a rule's false alarms are what its z promises, from however few values."""

import math
import random
from collections.abc import Callable
from statistics import NormalDist

import pytest

from watcher_server.anomalies.quantiles import prediction_factor, student_t_quantile

# JCGM 100:2008 (Guide to the Expression of Uncertainty in Measurement), table G.2: by degrees of freedom, the quantile
# that holds 68.27%, 95.45% and 99.73%: what one, two and three standard deviations of the normal distribution hold.
UNCERTAINTY_TABLE = {
    1: (1.84, 13.97, 235.78),
    2: (1.32, 4.53, 19.21),
    3: (1.20, 3.31, 9.22),
    4: (1.14, 2.87, 6.62),
    5: (1.11, 2.65, 5.51),
    9: (1.06, 2.32, 4.09),
    10: (1.05, 2.28, 3.96),
    20: (1.03, 2.13, 3.42),
    30: (1.02, 2.09, 3.27),
    50: (1.01, 2.05, 3.16),
    100: (1.005, 2.025, 3.077),
}
# NIST/SEMATECH, e-Handbook of Statistical Methods, 1.3.6.7.2: the upper 2.5% and 0.5%.
HANDBOOK_TABLE = {
    1: (12.706, 63.657),
    4: (2.776, 4.604),
    9: (2.262, 3.250),
    29: (2.045, 2.756),
    59: (2.001, 2.662),
    60: (2.000, 2.660),
    100: (1.984, 2.626),
}


@pytest.mark.parametrize(("degrees", "quantiles"), UNCERTAINTY_TABLE.items())
def test_quantiles_are_those_of_the_uncertainty_guide(degrees: int, quantiles: tuple[float, ...]) -> None:
    digits = 3 if degrees == 100 else 2
    z_scores = [NormalDist().inv_cdf((1 + inside) / 2) for inside in (0.6827, 0.9545, 0.9973)]
    assert tuple(round(student_t_quantile(z, degrees), digits) for z in z_scores) == quantiles


@pytest.mark.parametrize(("degrees", "quantiles"), HANDBOOK_TABLE.items())
def test_quantiles_are_those_of_the_statistics_handbook(degrees: int, quantiles: tuple[float, ...]) -> None:
    probabilities = (0.975, 0.995)
    z_scores = [NormalDist().inv_cdf(probability) for probability in probabilities]
    assert tuple(round(student_t_quantile(z, degrees), 3) for z in z_scores) == quantiles


def probability_within(t: float, degrees: int) -> float:
    """The probability of a value between -t and t: Simpson's rule over the density, in ``t = sqrt(degrees) tan(a)``."""
    log_constant = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(math.pi) / 2
    steps, end = 2_000, math.atan(t / math.sqrt(degrees))
    total = 0.0
    for step in range(steps + 1):
        weight = 1 if step in {0, steps} else 4 if step % 2 else 2
        total += weight * math.cos(end * step / steps) ** (degrees - 1)
    return 2 * math.exp(log_constant) * total * end / steps / 3


@pytest.mark.parametrize("count", [2, 5, 6, 10, 30, 60, 61, 62, 200, 1000])
@pytest.mark.parametrize("z", [1.0, 1.96, 3.0, 4.0])
def test_the_interval_holds_the_next_value_as_often_as_z_promises(z: float, count: int) -> None:
    # (next - mean) / (std * sqrt(1 + 1 / count)) has Student's distribution for count - 1 degrees of freedom.
    beyond = 1 - probability_within(prediction_factor(z, count) / math.sqrt(1 + 1 / count), count - 1)

    assert beyond == pytest.approx(2 * (1 - NormalDist().cdf(z)), rel=1e-3)


@pytest.mark.parametrize("z", [1.0, 2.5, 3.0, 4.0, 10.0])
def test_the_more_values_the_closer_to_z(z: float) -> None:
    factors = [prediction_factor(z, count) for count in (2, 3, 5, 10, 30, 59, 60, 61, 62, 100, 1_000, 1_000_000)]

    assert factors == sorted(factors, reverse=True)
    assert all(factor > z for factor in factors)
    assert factors[-1] == pytest.approx(z, rel=1e-4)


@pytest.mark.parametrize("count", [5, 30, 1000])
def test_a_higher_z_is_a_wider_range_and_beyond_four_in_proportion(count: int) -> None:
    factors = [prediction_factor(1 + step / 10, count) for step in range(91)]

    assert factors == sorted(set(factors))
    assert prediction_factor(8.0, count) == pytest.approx(2 * prediction_factor(4.0, count))


def false_alarm_rate(half_width: Callable[[int], float], count: int, *, draws: int = 20_000) -> float:
    """How often a normal value lies outside the range learnt from ``count`` others.

    The mean and the variance of a normal sample are independent, with a normal and a gamma distribution (Cochran).
    """
    source = random.Random(4)  # noqa: S311 - a simulation
    alarms = 0
    for _ in range(draws):
        mean = source.gauss(0, 1 / math.sqrt(count))
        std = math.sqrt(source.gammavariate((count - 1) / 2, 2 / (count - 1)))
        alarms += abs(source.gauss(0, 1) - mean) > half_width(count) * std
    return alarms / draws


def test_few_values_raise_no_more_false_alarms_than_many() -> None:
    promised = 2 * (1 - NormalDist().cdf(2))
    few, many = (false_alarm_rate(lambda count: prediction_factor(2.0, count), count) for count in (10, 1000))

    assert few == pytest.approx(promised, rel=0.15)
    assert many == pytest.approx(promised, rel=0.15)
    assert false_alarm_rate(lambda _: 2.0, 10) > 1.7 * promised
