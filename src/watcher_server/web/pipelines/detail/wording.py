"""The words of the page for what has a name in the tables, and its numbers in the unit of their metric."""

from typing import Any

from watcher_server.anomalies.rules import Metric
from watcher_server.web.filters import NONE, count, duration

# In the order in which pages show them.
METRIC_NAMES = {
    Metric.DURATION_SECONDS.value: "Duration",
    Metric.TOTAL_ROWS.value: "Total rows",
    Metric.INSERTS.value: "Inserts",
    Metric.UPDATES.value: "Updates",
    Metric.SOFT_DELETES.value: "Soft deletes",
    Metric.THROUGHPUT.value: "Throughput",
}
# The fields of a rule that a form may carry.
FIELDS = {
    "metric_field": "Metric",
    "method": "Method",
    "seasonality": "Compared with",
    "direction": "Anomalous when",
    "z_threshold": "Z-score",
    "alarms_per_month": "Alarms a month at most",
    "holidays": "Holidays",
    "lookback_days": "Looks back",
    "minimum_executions": "At least",
    "minimum_std_percent": "Least deviation in percent",
    "minimum_std": "Least deviation",
    "new_normal_after": "New normal after",
    "active": "Active",
}


def amount(metric: str, value: float | None) -> str:
    """A value of that metric: seconds, rows, or rows per second; a dash where there is none."""
    return NONE if value is None else _written(metric, value, _decimals(value))


def within(metric: str, lower: float, upper: float) -> str:
    """A range of that metric, both ends equally precise."""
    decimals = _decimals(upper)
    return f"{_written(metric, lower, decimals)} to {_written(metric, upper, decimals)}"


def _decimals(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - the larger the fewer


def _written(metric: str, value: float, decimals: int) -> str:
    if metric == Metric.DURATION_SECONDS:
        return duration(value) if value >= 60 else f"{count(float(round(value, decimals)))} s"  # noqa: PLR2004 - a minute
    unit = " rows/s" if metric == Metric.THROUGHPUT else ""
    return count(float(round(value, decimals))) + unit


# What the templates know that show metrics and anomalies.
WORDS: dict[str, Any] = {
    "metric_names": METRIC_NAMES,
    "method_names": {"zscore": "Mean and deviation", "mad": "Median and deviation", "seasonal": "Level, day and week"},
    "seasonality_names": {
        "hour": "the same hour",
        "weekday": "the same weekday",
        "hour_of_week": "the same hour of the week",
        "none": "all runs",
    },
    "direction_names": {"both": "Too high or too low", "high": "Too high", "low": "Too low"},
    "amount": amount,
    "within": within,
}
