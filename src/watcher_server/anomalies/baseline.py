"""What earlier runs say a metric usually is: one statement for all rules that look at the same runs.

Both statements measure all metrics that have a rule in one pass. ``each`` repeats an expression for every metric, in
place of the word METRIC. Their parameters are the window (``pipeline_id``, ``hour`` or ``hours``, ``weekday``,
``holidays``, ``earliest``, ``ended_at``, and ``most`` runs of an hour, the latest) and for each metric
``METRIC_since``, ``METRIC_accepted`` and ``METRIC_outlier``.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection

from watcher_server.anomalies.expectations import Expectation, Moment, accepted_until, expected_range, looks_back_to
from watcher_server.anomalies.holidays import HOLIDAY, holidays_around
from watcher_server.anomalies.rules import DAILY, WIDER, Method, Metric, Rule, Seasonality
from watcher_server.database.statements import Statement, numbered

_EVERY_HOUR = list(range(24))
# A pipeline that runs every minute has half a million runs in a year, which take a second for each judgement. The
# latest 10,000 give the same baseline.
_MOST_RUNS = 10_000


class Window(NamedTuple):
    """Which runs a statement measures, and what of them: each kind of window has a statement with only what it needs.

    ``hourly``: those of one hour of the day, and else of all; ``daily``: those of one weekday; ``alike``: all metrics
    look back equally far, and no flagged run was accepted. A plan that PostgreSQL keeps for any hours seems dearer to
    it than one for few runs of one hour, so that it would plan anew for each run.
    """

    method: Method
    metrics: tuple[Metric, ...]
    hourly: bool
    daily: bool
    alike: bool

    def each(self, expression: str) -> str:
        """The expression for each metric, separated by commas."""
        return ",\n        ".join(expression.replace("METRIC", metric.value) for metric in self.metrics)


# The runs of the widest window, hour by hour by ix_pipeline_execution_baseline. Joining each run to each rule takes up
# to five times as long. A run counts for a metric from where its rule looks back to, unless it is flagged for it; one
# that loads the past says nothing of what is usual. Most runs have no flags, which is found out once for all metrics.
# In double precision the squares of 64-bit counts fit. Without OFFSET 0, PostgreSQL would compute each value anew for
# each of its aggregates.
def _runs(window: Window) -> str:
    unflagged = "NOT flagged OR anomaly_flags ->> 'METRIC' IS DISTINCT FROM 'true'"
    counts = f"""end_date >= CAST(%(METRIC_since)s AS timestamptz)
            AND ({unflagged} OR end_date <= CAST(%(METRIC_accepted)s AS timestamptz))"""
    weekday = f"""
            AND CAST(%(weekday)s AS int) = CASE
                WHEN date_recorded = ANY(CAST(%(holidays)s AS date[])) THEN {HOLIDAY}
                ELSE extract(isodow FROM date_recorded) END"""
    hours = "unnest(CAST(%(hours)s AS smallint[])) AS hour (recorded) CROSS JOIN LATERAL "
    return f"""
    SELECT {window.each(f"CASE WHEN {unflagged if window.alike else counts} THEN METRIC::float8 END AS METRIC")}
    FROM {"" if window.hourly else hours}(
        SELECT end_date, anomaly_flags <> '{{}}' AS flagged, anomaly_flags, {window.each("METRIC")}
        FROM pipeline_execution
        WHERE pipeline_id = %(pipeline_id)s
            AND hour_recorded = {"CAST(%(hour)s AS smallint)" if window.hourly else "hour.recorded"}
            AND completed_successfully AND NOT backfill
            AND end_date >= CAST(%(earliest)s AS timestamptz) AND end_date < CAST(%(ended_at)s AS timestamptz)\
{weekday if window.daily else ""}
        ORDER BY end_date DESC LIMIT %(most)s
    ) AS execution
    OFFSET 0"""  # noqa: S608 - the names of the metrics are code


# Mean and sample standard deviation; once more without outliers where there are any. An outlier that was never flagged,
# such as one from before the rule, would widen the range until the next one like it passes. The fence is within about
# 0.1 of what the two-sided Grubbs' test rejects at 1%, for 15 to 100,000 values: F. E. Grubbs, Procedures for Detecting
# Outlying Observations in Samples (1969). Of fewer values, hardly any can lie far enough out. Equal values may differ
# from their mean by its rounding. Where there is an outlier, the runs are read again: keeping them takes a third longer
# whenever there is none. Without MATERIALIZED, PostgreSQL would compute these parts anew in its generic plan.
def _means(window: Window) -> str:
    each = window.each
    return f"""WITH run AS NOT MATERIALIZED ({_runs(window)}
), rough AS MATERIALIZED (
    SELECT {
        each('''count(METRIC) AS METRIC_count, avg(METRIC) AS METRIC_center, stddev_samp(METRIC) AS METRIC_spread,
            min(METRIC) AS METRIC_min, max(METRIC) AS METRIC_max''')
    }
    FROM run
), fenced AS MATERIALIZED (
    SELECT rough.*, {
        each('''CASE WHEN METRIC_count >= 15 THEN
            greatest(CAST(%(METRIC_outlier)s AS float8), 2.9 + 0.22 * ln(METRIC_count) - 11.0 / METRIC_count)
            * METRIC_spread + 1e-9 * abs(METRIC_center) END AS METRIC_fence''')
    }
    FROM rough
), checked AS MATERIALIZED (
    SELECT fenced.*, true = ANY(ARRAY[
        {each("METRIC_max - METRIC_center > METRIC_fence, METRIC_center - METRIC_min > METRIC_fence")}
    ]) AS has_outlier
    FROM fenced
)
SELECT {each("METRIC_count, METRIC_center, METRIC_spread")}
FROM checked WHERE has_outlier IS NOT TRUE
UNION ALL
SELECT {each("max(METRIC_count), avg(METRIC), stddev_samp(METRIC)")}
FROM (
    SELECT {
        each("METRIC_count, CASE WHEN abs(METRIC - METRIC_center) > METRIC_fence THEN NULL ELSE METRIC END AS METRIC")
    }
    FROM checked CROSS JOIN LATERAL (SELECT run.* FROM run WHERE has_outlier OFFSET 0) AS again
    OFFSET 0
) AS kept
HAVING count(*) > 0
"""  # noqa: S608 - as above


# Median and median absolute deviation, scaled to a standard deviation. Where more than half of the values are equal it
# is zero, and the mean absolute deviation takes its place: Iglewicz and Hoaglin, How to Detect and Handle Outliers
# (1993), chapter 3.
def _medians(window: Window) -> str:
    each = window.each
    return f"""WITH run AS MATERIALIZED ({_runs(window)}
), middle AS MATERIALIZED (
    SELECT {each("percentile_cont(0.5) WITHIN GROUP (ORDER BY METRIC) AS METRIC_median")}
    FROM run
), spread AS (
    SELECT {
        each('''count(METRIC) AS METRIC_count, max(METRIC_median) AS METRIC_center,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(METRIC - METRIC_median)) AS METRIC_mad,
            avg(abs(METRIC - METRIC_median)) AS METRIC_mean_deviation''')
    }
    FROM run CROSS JOIN middle
)
SELECT {
        each('''METRIC_count, METRIC_center,
        coalesce(nullif(1.482602 * METRIC_mad, 0), 1.253314 * METRIC_mean_deviation) AS METRIC_spread''')
    }
FROM spread
"""  # noqa: S608 - as above


@lru_cache(maxsize=128)
def measurement(window: Window) -> Statement:
    """The statement that measures such a window."""
    return numbered(_means(window) if window.method == Method.ZSCORE else _medians(window))


def expect_by_baselines(
    connection: Connection, pipeline_id: int, moment: Moment, rules: Sequence[Rule]
) -> dict[int, Expectation]:
    """What each rule expects from the runs that ended before the moment, by the rule's id.

    A rule looks at the runs of its own seasonality; while these have fewer than ``minimum_executions`` values, at those
    of the next wider one.
    """
    expected: dict[int, Expectation] = {}
    pending = [_entry(rule, Seasonality(rule.seasonality)) for rule in rules]
    while pending:
        wider = []
        pending.sort(key=lambda entry: entry[:3])
        for (bucket, method, _), group in groupby(pending, key=lambda entry: entry[:3]):
            alike = [entry[3] for entry in group]
            for rule, (count, center, spread) in _measure(
                connection, pipeline_id, moment, alike, bucket=bucket, method=method
            ):
                within = expected_range(rule, count, center, spread)
                expected[rule.id] = Expectation(within, count, bucket.value, spread)
                if count < rule.minimum_executions and bucket in WIDER and not _is_holiday(rule, moment, bucket):
                    wider.append(_entry(rule, WIDER[bucket]))
        pending = wider
    return expected


def _entry(rule: Rule, bucket: Seasonality) -> tuple[Seasonality, str, tuple[str, ...], Rule]:
    """A rule after what it has in common with those that look at the same runs."""
    return bucket, rule.method, tuple(rule.holidays) if bucket in DAILY else (), rule


def _is_holiday(rule: Rule, moment: Moment, bucket: Seasonality) -> bool:
    """Whether only earlier holidays say what is usual: other days would have each of them flagged, and never learnt."""
    return bucket in DAILY and moment.date_recorded in holidays_around(rule.holidays, moment.date_recorded)


def _measure(
    connection: Connection, pipeline_id: int, moment: Moment, rules: Sequence[Rule], *, bucket: Seasonality, method: str
) -> Iterator[tuple[Rule, tuple[int, float | None, float | None]]]:
    """Each rule with the number, the centre and the spread of the values that it looks at."""
    by_metric = {metric: rule for metric in Metric for rule in rules if rule.metric == metric}
    limits = {metric: _limits(rule, moment) for metric, rule in by_metric.items()}
    earliest = min(since for since, _ in limits.values())
    window = Window(
        Method(method),
        tuple(by_metric),
        hourly=bucket in {Seasonality.HOUR, Seasonality.HOUR_OF_WEEK},
        daily=bucket in DAILY,
        alike=all(limit == (earliest, None) for limit in limits.values()),
    )
    parameters = _parameters(pipeline_id, moment, window, rules) | {"earliest": earliest}
    for metric, (since, accepted) in limits.items():
        own = {"since": since, "accepted": accepted, "outlier": by_metric[metric].outlier}
        parameters |= {f"{metric}_{name}": value for name, value in own.items()}
    (row,) = measurement(window).run(connection, parameters).fetchall()
    for number, rule in enumerate(by_metric.values()):
        yield rule, row[3 * number : 3 * number + 3]


def _parameters(pipeline_id: int, moment: Moment, window: Window, rules: Sequence[Rule]) -> dict[str, Any]:
    share = _MOST_RUNS if window.hourly else _MOST_RUNS // len(_EVERY_HOUR)
    day = moment.date_recorded
    holidays = holidays_around(rules[0].holidays, day) if window.daily else frozenset()
    return {
        "pipeline_id": pipeline_id,
        "ended_at": moment.ended_at,
        "hour": moment.hour_recorded,
        "hours": _EVERY_HOUR,
        "weekday": HOLIDAY if day in holidays else day.isoweekday(),
        "holidays": sorted(holidays),
        # All runs may have started in one hour, and these have to be enough for a verdict.
        "most": max(share, *(rule.minimum_executions for rule in rules)),
    }


def _limits(rule: Rule, moment: Moment) -> tuple[datetime, datetime | None]:
    """The first moment that counts, and the last at which flagged runs count."""
    return looks_back_to(rule, moment), accepted_until(rule, moment.ended_at)
