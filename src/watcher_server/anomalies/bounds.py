"""From a baseline to the range in which the next value is expected."""

from dataclasses import dataclass

from watcher_server.anomalies.quantiles import prediction_factor
from watcher_server.anomalies.rules import Rule


@dataclass(frozen=True)
class Baseline:
    """``count`` values around ``center`` with a standard deviation of ``spread``, of the runs named by ``bucket``.

    ``center`` is null without any value, ``spread`` with fewer than two.
    """

    bucket: str
    count: int
    center: float | None
    spread: float | None


@dataclass(frozen=True)
class ExpectedRange:
    """Where the next value is expected: between the bounds, both included; in the metric's own unit.

    ``std`` is the deviation of the values, or the floor of the rule where that is more.
    """

    mean: float
    std: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Expectation:
    """What is expected of one value: the range, or none while the rule learns.

    ``execution_count`` is of how many executions that is known, ``bucket`` which these were (of the same hour, weekday,
    hour_of_week, or none: all), ``sample_std`` their deviation before any floor.
    """

    within: ExpectedRange | None
    execution_count: int
    bucket: str
    sample_std: float | None


def expected_range(rule: Rule, baseline: Baseline) -> ExpectedRange | None:
    """The range around the centre of the baseline that holds as many values as the z-score promises; never below zero.

    The deviation is an estimate, and few values make it a poor one: the range is wider then. The floor is no estimate
    and is taken as it is. None while the baseline has fewer values than the rule wants.
    """
    if baseline.count < rule.minimum_executions or baseline.center is None or baseline.spread is None:
        return None
    floor = floor_of(rule, baseline.center)
    estimated = prediction_factor(rule.z_threshold, baseline.count) * baseline.spread
    half_width = max(estimated, rule.z_threshold * floor)
    return ExpectedRange(
        mean=baseline.center,
        std=max(baseline.spread, floor),
        lower=max(0.0, baseline.center - half_width),
        upper=baseline.center + half_width,
    )


def floor_of(rule: Rule, center: float) -> float:
    """The least standard deviation that the rule takes for true around that centre."""
    return max(rule.minimum_std_percent / 100 * abs(center), rule.minimum_std)
