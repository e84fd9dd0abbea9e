"""Judging an execution against the history of its pipeline.

The method is the z-score of NIST/SEMATECH, e-Handbook of Statistical Methods, 1.3.5.17 ("Detection of
Outliers"), with two changes: the judged value is no part of its own baseline, and the standard deviation has
a floor.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from watcher_server.alerts.service import Level, NewAlert, raise_alert

logger = logging.getLogger(__name__)

_SECONDS_PER_HOUR = 3600

# Locked before anything is judged: of two deliveries of one task, the second sees what the first has written.
# NO KEY, so that child runs, whose foreign key points here, start meanwhile. The lock itself need not reach the disk:
# only a judgement that finds something waits for that (see the RETURNING below).
_LOCK_EXECUTION = text("""
SELECT pipeline.name, execution.hour_recorded, execution.end_date,
    extract(epoch FROM now() - execution.end_date)::float8 AS seconds_ago,
    set_config('synchronous_commit', 'off', true)
FROM pipeline_execution AS execution JOIN pipeline ON pipeline.id = execution.pipeline_id
WHERE execution.id = :execution_id AND execution.pipeline_id = :pipeline_id
    AND execution.completed_successfully
FOR NO KEY UPDATE OF execution
""")

# The runs of the widest window are read once, by ix_pipeline_execution_baseline, and all six metrics are measured in
# that one pass: joining each run to each rule takes three times as long. A run counts for a metric
# from where its rule looks back to, unless it is flagged for it; a metric without a rule has no such moment.
# A metric with a flag was judged before: true was alerted, false was unflagged by hand and stays so. In double
# precision the squares of 64-bit counts fit.
_DETECT = text("""
WITH rule AS (
    SELECT id, metric_field, z_threshold, lookback_days, minimum_executions,
        CAST(:ended_at AS timestamptz) - make_interval(days => lookback_days) AS since
    FROM anomaly_detection_rule
    WHERE pipeline_id = :pipeline_id AND active AND NOT EXISTS (
        SELECT FROM pipeline_execution WHERE id = :execution_id AND anomaly_flags ? metric_field)
), since AS (
    SELECT min(since) AS earliest,
        min(since) FILTER (WHERE metric_field = 'duration_seconds') AS duration_seconds,
        min(since) FILTER (WHERE metric_field = 'inserts') AS inserts,
        min(since) FILTER (WHERE metric_field = 'updates') AS updates,
        min(since) FILTER (WHERE metric_field = 'soft_deletes') AS soft_deletes,
        min(since) FILTER (WHERE metric_field = 'total_rows') AS total_rows,
        min(since) FILTER (WHERE metric_field = 'throughput') AS throughput
    FROM rule
), run AS (
    SELECT
        CASE WHEN end_date >= since.duration_seconds AND anomaly_flags ->> 'duration_seconds' IS DISTINCT FROM 'true'
            THEN execution.duration_seconds::float8 END AS duration_seconds,
        CASE WHEN end_date >= since.inserts AND anomaly_flags ->> 'inserts' IS DISTINCT FROM 'true'
            THEN execution.inserts::float8 END AS inserts,
        CASE WHEN end_date >= since.updates AND anomaly_flags ->> 'updates' IS DISTINCT FROM 'true'
            THEN execution.updates::float8 END AS updates,
        CASE WHEN end_date >= since.soft_deletes AND anomaly_flags ->> 'soft_deletes' IS DISTINCT FROM 'true'
            THEN execution.soft_deletes::float8 END AS soft_deletes,
        CASE WHEN end_date >= since.total_rows AND anomaly_flags ->> 'total_rows' IS DISTINCT FROM 'true'
            THEN execution.total_rows::float8 END AS total_rows,
        CASE WHEN end_date >= since.throughput AND anomaly_flags ->> 'throughput' IS DISTINCT FROM 'true'
            THEN execution.throughput END AS throughput
    FROM pipeline_execution AS execution CROSS JOIN since
    WHERE pipeline_id = :pipeline_id AND hour_recorded = :hour_recorded AND completed_successfully
        AND end_date >= (SELECT earliest FROM since) AND end_date < CAST(:ended_at AS timestamptz)
    OFFSET 0 -- or each value would be worked out anew for each aggregate
), history AS (
    SELECT ARRAY[count(duration_seconds), count(inserts), count(updates),
            count(soft_deletes), count(total_rows), count(throughput)] AS counts,
        ARRAY[avg(duration_seconds), avg(inserts), avg(updates),
            avg(soft_deletes), avg(total_rows), avg(throughput)] AS means,
        ARRAY[stddev_samp(duration_seconds), stddev_samp(inserts), stddev_samp(updates),
            stddev_samp(soft_deletes), stddev_samp(total_rows), stddev_samp(throughput)] AS deviations
    FROM run
), baseline AS (
    SELECT rule.id AS rule_id, rule.metric_field, rule.z_threshold, rule.lookback_days, rule.minimum_executions,
        measured.value, measured.execution_count, measured.mean, measured.sample_std
    FROM history
    CROSS JOIN pipeline_execution AS execution
    CROSS JOIN LATERAL unnest(
        ARRAY['duration_seconds', 'inserts', 'updates', 'soft_deletes', 'total_rows', 'throughput'],
        ARRAY[duration_seconds, inserts, updates, soft_deletes, total_rows, throughput]::float8[],
        counts, means, deviations
    ) AS measured (metric, value, execution_count, mean, sample_std)
    JOIN rule ON rule.metric_field = measured.metric
    WHERE execution.id = :execution_id
), judged AS (
    SELECT baseline.*, std, greatest(0, mean - z_threshold * std) AS lower_bound,
        mean + z_threshold * std AS upper_bound
    FROM baseline CROSS JOIN LATERAL (SELECT greatest(sample_std, 0.01 * abs(mean), 1)) AS floored (std)
    WHERE execution_count >= minimum_executions
), result AS (
    INSERT INTO anomaly_detection_result
        (rule_id, pipeline_execution_id, metric_field, violation_value, z_score, historical_mean,
        historical_std, z_threshold, lower_bound, upper_bound, execution_count, context)
    SELECT rule_id, :execution_id, metric_field, value, (value - mean) / std, mean, std,
        z_threshold, lower_bound, upper_bound, execution_count,
        jsonb_build_object('hour_recorded', CAST(:hour_recorded AS smallint), 'lookback_days', lookback_days,
            'minimum_executions', minimum_executions, 'sample_std', sample_std)
    FROM judged
    WHERE value > upper_bound OR value < lower_bound
    ORDER BY rule_id
    ON CONFLICT (rule_id, pipeline_execution_id) DO NOTHING
    RETURNING metric_field, violation_value, lower_bound, upper_bound, z_score, execution_count,
        set_config('synchronous_commit', NULL, true)
), flagged AS (
    UPDATE pipeline_execution
    SET anomaly_flags = anomaly_flags || (SELECT jsonb_object_agg(metric_field, true) FROM result)
    WHERE id = :execution_id AND EXISTS (SELECT FROM result)
)
SELECT metric_field, violation_value, lower_bound, upper_bound, z_score, execution_count
FROM result ORDER BY metric_field
""")


@dataclass(frozen=True)
class Anomaly:
    """A metric outside its expected range; the value and both bounds are in the metric's own unit."""

    metric: str
    value: float
    lower_bound: float
    upper_bound: float
    z_score: float
    execution_count: int


@dataclass(frozen=True)
class _Judged:
    pipeline_id: int
    execution_id: int
    pipeline_name: str
    hour_recorded: int
    ended_at: datetime
    seconds_ago: float


def detect_anomalies(
    connection: Connection, pipeline_id: int, pipeline_execution_id: int, *, alert_max_age_hours: int
) -> list[Anomaly]:
    """Judge a successful execution by every active rule of its pipeline; the anomalies that are new.

    The baseline of a rule is its metric over the pipeline's successful runs of the same hour of the day (UTC)
    that ended before this one and at most ``lookback_days`` before its end, without those flagged for that
    metric. With fewer than ``minimum_executions`` values there is no verdict. Each anomaly is stored and
    flagged on the execution, and all are alerted once, unless the execution ended more than
    ``alert_max_age_hours`` ago.

    An execution that is unknown, running, failed or another pipeline's has nothing to judge.

    Raises:
        ValueError: an id is not an integer.
    """
    _check_id("pipeline_id", pipeline_id)
    _check_id("pipeline_execution_id", pipeline_execution_id)
    judged = _lock_execution(connection, pipeline_id, pipeline_execution_id)
    if judged is None:
        return []
    anomalies = _find_anomalies(connection, judged)
    if anomalies:
        _tell(connection, judged, anomalies, alert_max_age_hours)
    return anomalies


def _check_id(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be an integer, not {value!r}.")  # noqa: TRY004 - the value of a message, not of code


def _lock_execution(connection: Connection, pipeline_id: int, execution_id: int) -> _Judged | None:
    parameters = {"pipeline_id": pipeline_id, "execution_id": execution_id}
    row = connection.execute(_LOCK_EXECUTION, parameters).one_or_none()
    if row is None:
        return None
    return _Judged(pipeline_id, execution_id, row.name, row.hour_recorded, row.end_date, row.seconds_ago)


def _find_anomalies(connection: Connection, judged: _Judged) -> list[Anomaly]:
    parameters = {
        "pipeline_id": judged.pipeline_id,
        "execution_id": judged.execution_id,
        "hour_recorded": judged.hour_recorded,
        "ended_at": judged.ended_at,
    }
    return [Anomaly(*row) for row in connection.execute(_DETECT, parameters)]


def _tell(connection: Connection, judged: _Judged, anomalies: Sequence[Anomaly], alert_max_age_hours: int) -> None:
    message = (
        f"Anomalies Detected for Pipeline '{judged.pipeline_name}' (ID: {judged.pipeline_id})"
        f" - Execution ID {judged.execution_id} flagged"
    )
    if judged.seconds_ago > alert_max_age_hours * _SECONDS_PER_HOUR:
        metrics = ", ".join(anomaly.metric for anomaly in anomalies)
        logger.info("%s for %s; it ended too long ago to alert", message, metrics)
        return
    raise_alert(
        connection,
        NewAlert(
            dedupe_key=f"anomaly:{judged.execution_id}",
            level=Level.WARNING,
            title="Anomaly Detection",
            message=message,
            details=[(anomaly.metric, _describe(anomaly)) for anomaly in anomalies],
        ),
    )


def _describe(anomaly: Anomaly) -> str:
    expected = f"{_number(anomaly.lower_bound)} to {_number(anomaly.upper_bound)}"
    return (
        f"{_number(anomaly.value)} (expected {expected}; z-score {anomaly.z_score:.1f},"
        f" from {anomaly.execution_count} executions)"
    )


def _number(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")
