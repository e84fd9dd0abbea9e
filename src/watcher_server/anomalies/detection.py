"""Judging an execution against the history of its pipeline.

The method is the z-score of NIST/SEMATECH, e-Handbook of Statistical Methods, 1.3.5.17 ("Detection of Outliers"),
with four changes: the judged value is no part of its own baseline, nor are values that were flagged or lie far out; the
standard deviation has a floor; and the range is a prediction interval, as wide as few values need it to be.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.anomalies.baseline import Moment
from watcher_server.anomalies.bounds import Expectation, ExpectedRange
from watcher_server.anomalies.expectations import find_expectations
from watcher_server.anomalies.recording import Anomaly, JudgedRun, record_anomalies
from watcher_server.anomalies.rules import Direction, Rule
from watcher_server.anomalies.telling import tell_anomalies

# Locked before anything is judged: of two deliveries of one task, the second sees what the first has written.
# NO KEY, so that child runs, whose foreign key points here, start meanwhile. The lock itself need not reach the disk:
# only what is found waits for that.
_LOCK_EXECUTION = """
SELECT pipeline.name AS pipeline_name, execution.start_date, execution.end_date, execution.hour_recorded,
    execution.date_recorded, execution.anomaly_flags,
    extract(epoch FROM now() - execution.end_date)::float8 AS seconds_ago,
    execution.duration_seconds, execution.inserts, execution.updates, execution.soft_deletes, execution.total_rows,
    execution.throughput,
    rule.id, rule.metric_field AS metric, rule.z_threshold, rule.lookback_days, rule.minimum_executions, rule.method,
    rule.seasonality, rule.direction, rule.minimum_std_percent, rule.minimum_std, rule.new_normal_after,
    rule.normal_from, rule.normal_until, rule.learning,
    set_config('synchronous_commit', 'off', true)
FROM pipeline_execution AS execution
JOIN pipeline ON pipeline.id = execution.pipeline_id
LEFT JOIN anomaly_detection_rule AS rule ON rule.pipeline_id = pipeline.id AND rule.active
    -- A rule that has been given another metric keeps its one result of an execution.
    AND NOT EXISTS (
        SELECT FROM anomaly_detection_result AS result
        WHERE result.rule_id = rule.id AND result.pipeline_execution_id = execution.id
    )
WHERE execution.id = :execution_id AND execution.pipeline_id = :pipeline_id AND execution.completed_successfully
FOR NO KEY UPDATE OF execution
"""

_LOCK_RULES = """
SELECT id FROM anomaly_detection_rule WHERE id = ANY(CAST(:rule_ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE
"""

_CHANGE_LEARNING = """
UPDATE anomaly_detection_rule SET learning = :learning WHERE id = ANY(CAST(:rule_ids AS bigint[]))
"""


def detect_anomalies(
    connection: Connection, pipeline_id: int, pipeline_execution_id: int, *, alert_max_age_hours: int
) -> list[Anomaly]:
    """Judge a successful execution by every active rule of its pipeline; the anomalies that are new.

    The baseline of a rule is its metric over the pipeline's successful runs of the same season (the hour of the day,
    UTC, unless the rule says otherwise) that ended before this one and at most ``lookback_days`` before its end,
    without those flagged for that metric. While a season has fewer than ``minimum_executions`` values, those of the
    next wider one count; when the widest has too few, there is no verdict. Each anomaly is stored and flagged on the
    execution, and joins the event of the run before it if that was flagged on the same side. New events are alerted
    once, unless the execution ended more than ``alert_max_age_hours`` ago.

    An execution that is unknown, running, failed or another pipeline's has nothing to judge.

    Raises:
        ValueError: an id is not an integer.
    """
    _check_id("pipeline_id", pipeline_id)
    _check_id("pipeline_execution_id", pipeline_execution_id)
    parameters = {"pipeline_id": pipeline_id, "execution_id": pipeline_execution_id}
    rows = connection.execute(text(_LOCK_EXECUTION), parameters).all()
    values = _find_values(rows)
    if not values:
        return []
    run = _read_run(rows[0], pipeline_id, pipeline_execution_id)
    rules = [rule for rule, _ in values]
    moment = Moment(run.start_date, run.end_date, run.hour_recorded, run.date_recorded)
    expectations = find_expectations(connection, pipeline_id, moment, rules)
    anomalies = _find_anomalies(values, expectations)
    changed = [rule for rule in rules if rule.learning != (expectations[rule.id].within is None)]
    _lock_rules(connection, [*changed, *(anomaly.rule for anomaly in anomalies)])
    _remember_learning(connection, changed)
    if anomalies:
        events = record_anomalies(connection, run, anomalies)
        tell_anomalies(connection, run, events, alert_max_age_hours=alert_max_age_hours)
    return anomalies


def _check_id(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be an integer, not {value!r}.")  # noqa: TRY004 - the value of a message, not of code


def _find_values(rows: Sequence[Row[Any]]) -> list[tuple[Rule, float]]:
    """Each rule that has something to judge, with the value.

    A metric with a flag was judged before: true was alerted, false was unflagged by hand and stays so.
    """
    return [
        (Rule.of(row, metric=row.metric), float(value))
        for row in rows
        if row.id is not None and row.metric not in row.anomaly_flags
        if (value := getattr(row, row.metric)) is not None
    ]


def _read_run(row: Row[Any], pipeline_id: int, execution_id: int) -> JudgedRun:
    return JudgedRun(
        id=execution_id,
        pipeline_id=pipeline_id,
        pipeline_name=row.pipeline_name,
        start_date=row.start_date,
        end_date=row.end_date,
        hour_recorded=row.hour_recorded,
        date_recorded=row.date_recorded,
        seconds_ago=row.seconds_ago,
    )


def _find_anomalies(values: Sequence[tuple[Rule, float]], expectations: dict[int, Expectation]) -> list[Anomaly]:
    return [
        Anomaly(rule, value, within, expectations[rule.id])
        for rule, value in values
        if (within := expectations[rule.id].within) is not None and _is_outside(value, within, rule.direction)
    ]


def _is_outside(value: float, expected: ExpectedRange, direction: str) -> bool:
    too_high = value > expected.upper and direction != Direction.LOW
    too_low = value < expected.lower and direction != Direction.HIGH
    return too_high or too_low


def _lock_rules(connection: Connection, rules: Sequence[Rule]) -> None:
    """All that will be written, in one order: two executions of a pipeline never wait for each other's rules."""
    if rules:
        connection.execute(text(_LOCK_RULES), {"rule_ids": [rule.id for rule in rules]}).all()


def _remember_learning(connection: Connection, changed: Sequence[Rule]) -> None:
    """Keep on a rule whether it has learnt enough for a verdict: written when that changes only."""
    for learning in (False, True):
        rule_ids = [rule.id for rule in changed if rule.learning != learning]
        if rule_ids:
            connection.execute(text(_CHANGE_LEARNING), {"rule_ids": rule_ids, "learning": learning})
