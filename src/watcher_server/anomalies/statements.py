"""The statements that measure a history, written once and spelled out for each metric.

Their parameters are the window (``pipeline_id``, ``hours``, ``weekday``, ``earliest``, ``ended_at``, and ``most`` runs
of an hour, the latest) and for each metric ``METRIC_since``, ``METRIC_accepted`` and ``METRIC_outlier``: null for a
metric without a rule.
"""

from watcher_server.anomalies.rules import Metric


def _per_metric(template: str) -> str:
    return ",\n        ".join(template.replace("METRIC", metric.value) for metric in Metric)


_COUNTING = _per_metric(
    "CASE WHEN end_date >= CAST(:METRIC_since AS timestamptz)"
    " AND (anomaly_flags ->> 'METRIC' IS DISTINCT FROM 'true' OR end_date <= CAST(:METRIC_accepted AS timestamptz))"
    " THEN METRIC::float8 END AS METRIC"
)

# The runs of the widest window once, hour by hour by ix_pipeline_execution_baseline, with all six metrics in one pass:
# joining each run to each rule takes three times as long. A run counts for a metric from where its rule looks back to,
# unless it is flagged for it. In double precision the squares of 64-bit counts fit. What is MATERIALIZED would be
# worked out anew for each row by the plan that PostgreSQL makes for any parameters.
_RUNS = f"""
WITH run AS MATERIALIZED (
    SELECT {_COUNTING}
    FROM unnest(CAST(:hours AS smallint[])) AS hour (recorded) CROSS JOIN LATERAL (
        SELECT * FROM pipeline_execution
        WHERE pipeline_id = :pipeline_id AND hour_recorded = hour.recorded AND completed_successfully
            AND end_date >= CAST(:earliest AS timestamptz) AND end_date < CAST(:ended_at AS timestamptz)
            AND (CAST(:weekday AS int) IS NULL OR extract(isodow FROM date_recorded) = CAST(:weekday AS int))
        ORDER BY end_date DESC LIMIT :most
    ) AS execution
)"""  # noqa: S608 - the names of the metrics are code

_MEAN_AND_STD = _per_metric(
    "count(METRIC) AS METRIC_count, avg(METRIC) AS METRIC_center, stddev_samp(METRIC) AS METRIC_spread"
)
_EXTREMES = _per_metric("min(METRIC) AS METRIC_min, max(METRIC) AS METRIC_max")
# Within about 0.1 of what the two-sided Grubbs' test rejects at 1%, for 15 to 100,000 values: F. E. Grubbs, Procedures
# for Detecting Outlying Observations in Samples (1969). Of fewer, hardly any can lie far enough out. Equal values may
# differ from their mean by its rounding.
_FENCES = _per_metric(
    "CASE WHEN METRIC_count >= 15 THEN"
    " greatest(CAST(:METRIC_outlier AS float8), 2.9 + 0.22 * ln(METRIC_count) - 11.0 / METRIC_count) * METRIC_spread"
    " + 1e-9 * abs(METRIC_center) END AS METRIC_fence"
)
_HAS_OUTLIER = _per_metric("METRIC_max - METRIC_center > METRIC_fence, METRIC_center - METRIC_min > METRIC_fence")
_WITHOUT_OUTLIERS = _per_metric(
    "METRIC_count, CASE WHEN abs(METRIC - METRIC_center) > METRIC_fence THEN NULL ELSE METRIC END AS METRIC"
)
_MEASURED_AGAIN = _per_metric("max(METRIC_count), avg(METRIC), stddev_samp(METRIC)")
_MEASURED = _per_metric("METRIC_count, METRIC_center, METRIC_spread")

# Mean and sample standard deviation; once more without outliers where there are any: an outlier that was never flagged,
# such as one from before the rule, would widen the range until the next one like it passes.
MEANS = f"""{_RUNS}, rough AS MATERIALIZED (
    SELECT {_MEAN_AND_STD},
        {_EXTREMES}
    FROM run
), fenced AS MATERIALIZED (
    SELECT rough.*,
        {_FENCES}
    FROM rough
), checked AS MATERIALIZED (
    SELECT fenced.*, true = ANY(ARRAY[{_HAS_OUTLIER}]) AS has_outlier
    FROM fenced
)
SELECT {_MEASURED}
FROM checked WHERE has_outlier IS NOT TRUE
UNION ALL
SELECT {_MEASURED_AGAIN}
FROM (
    SELECT {_WITHOUT_OUTLIERS}
    FROM checked CROSS JOIN run WHERE has_outlier
    OFFSET 0 -- or each value would be worked out anew for each aggregate
) AS kept
HAVING count(*) > 0
"""  # noqa: S608 - as above

_MEDIAN = _per_metric("percentile_cont(0.5) WITHIN GROUP (ORDER BY METRIC) AS METRIC_median")
_DEVIATIONS = _per_metric(
    "count(METRIC) AS METRIC_count, max(METRIC_median) AS METRIC_center,"
    " percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(METRIC - METRIC_median)) AS METRIC_mad,"
    " avg(abs(METRIC - METRIC_median)) AS METRIC_mean_deviation"
)
_MEDIAN_AND_SPREAD = _per_metric(
    "METRIC_count, METRIC_center,"
    " coalesce(nullif(1.482602 * METRIC_mad, 0), 1.253314 * METRIC_mean_deviation) AS METRIC_spread"
)

# Median and median absolute deviation, scaled to a standard deviation. Where more than half of the values are equal it
# is zero, and the mean absolute deviation takes its place: Iglewicz and Hoaglin, How to Detect and Handle Outliers
# (1993), chapter 3.
MEDIANS = f"""{_RUNS}, middle AS MATERIALIZED (
    SELECT {_MEDIAN}
    FROM run
), spread AS (
    SELECT {_DEVIATIONS}
    FROM run CROSS JOIN middle
)
SELECT {_MEDIAN_AND_SPREAD}
FROM spread
"""  # noqa: S608 - as above
