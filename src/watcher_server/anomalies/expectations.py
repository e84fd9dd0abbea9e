"""What is expected of a run: the range of its next value, from a mean and a deviation or from a seasonal band."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from watcher_server.anomalies.quantiles import prediction_factor
from watcher_server.anomalies.rules import Direction, Rule


@dataclass(frozen=True)
class Moment:
    """When a run started, with the hour and day (UTC) that its row records, and when it ended.

    ``collapsed_at`` is when a level began that must not be learnt: what is usual lies before it.
    """

    started_at: datetime
    ended_at: datetime
    hour_recorded: int
    date_recorded: date
    collapsed_at: datetime | None = None

    @property
    def looks_from(self) -> datetime:
        return self.collapsed_at or self.ended_at


@dataclass(frozen=True)
class ExpectedRange:
    """Where the next value is expected: between the bounds, both included; in the metric's own unit.

    ``std`` is the deviation of the values, or the floor of the rule where that is more.
    """

    mean: float
    std: float
    lower: float
    upper: float

    def side_of(self, value: float, direction: str) -> int:
        """1 for a value that is too high, -1 for one that is too low, if the rule looks in that direction; else 0."""
        if value > self.upper and direction != Direction.LOW:
            return 1
        return -1 if value < self.lower and direction != Direction.HIGH else 0


@dataclass(frozen=True)
class Expectation:
    """What is expected of one value: the range, or none while the rule learns.

    ``execution_count`` is the number of executions that it was learnt from, ``bucket`` says which these were (of the
    same hour, weekday, hour_of_week, or none: all), ``sample_std`` is their deviation before any floor.
    """

    within: ExpectedRange | None
    execution_count: int
    bucket: str
    sample_std: float | None


def expected_range(rule: Rule, count: int, center: float | None, spread: float | None) -> ExpectedRange | None:
    """The range around the centre of ``count`` values that holds as many values as the z-score promises.

    The spread is the standard deviation of the values, an estimate that is poor with few values: the range is wider
    then. The floor of the rule is no estimate and is taken as it is. The range never goes below zero. None while there
    are fewer values than the rule wants.
    """
    if count < rule.minimum_executions or center is None or spread is None:
        return None
    half_width = prediction_factor(rule.z_threshold, count) * spread
    return floored_range(rule, center, spread, center - half_width, center + half_width)


def floored_range(rule: Rule, center: float, spread: float, lower: float, upper: float) -> ExpectedRange:
    """The range, made at least as wide as the least standard deviation that the rule assumes; never below zero."""
    floor = least_std(rule, center)
    margin = rule.z_threshold * floor
    return ExpectedRange(
        mean=center,
        std=max(spread, floor),
        lower=max(0.0, min(lower, center - margin)),
        upper=max(upper, center + margin),
    )


def least_std(rule: Rule, center: float) -> float:
    """The least standard deviation that the rule assumes around that centre, in the metric's own unit."""
    return max(rule.minimum_std_percent / 100 * abs(center), rule.minimum_std)


def days_before(moment: datetime, days: int) -> datetime:
    """The time ``days`` times 24 hours before the moment, or the first moment there is."""
    return moment - min(timedelta(days=days), moment - datetime.min.replace(tzinfo=UTC))


def looks_back_to(rule: Rule, moment: Moment) -> datetime:
    """The earliest end of a run that counts for a run at that moment."""
    lookback = days_before(moment.looks_from, rule.lookback_days)
    # A run from before the new normal is judged as it would have been then.
    return max(lookback, rule.normal_from) if rule.normal_from and rule.normal_from < moment.ended_at else lookback


def accepted_until(rule: Rule, ended_at: datetime) -> datetime | None:
    """Flagged runs up to this moment are part of an accepted new normal and count; None without one."""
    return rule.normal_until if rule.normal_from and rule.normal_from < ended_at else None
