"""Writing down what was found: results, flags, and the events that consecutive results make up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, Row, insert, text
from sqlalchemy.dialects.postgresql import insert as upsert

from watcher_server.anomalies.bounds import Expectation, ExpectedRange
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyEvent
from watcher_server.anomalies.rules import Direction, Method, Metric, Rule


@dataclass(frozen=True)
class JudgedRun:
    """The execution that was judged; ``seconds_ago`` is how long ago it ended."""

    id: int
    pipeline_id: int
    pipeline_name: str
    start_date: datetime
    end_date: datetime
    hour_recorded: int
    date_recorded: date
    seconds_ago: float


@dataclass(frozen=True)
class Anomaly:
    """A value outside its expected range; the value and the range are in the metric's own unit."""

    rule: Rule
    value: float
    within: ExpectedRange
    expectation: Expectation

    @property
    def metric(self) -> str:
        return self.rule.metric

    @property
    def z_score(self) -> float:
        """How many standard deviations the value lies from the mean."""
        return (self.value - self.within.mean) / self.within.std

    @property
    def side(self) -> Direction:
        return Direction.HIGH if self.value > self.within.upper else Direction.LOW


@dataclass(frozen=True)
class Event:
    """The event that an anomaly is part of; ``accepted`` says that with this run its level is the new normal."""

    id: int
    anomaly: Anomaly
    execution_count: int
    alerted: bool
    accepted: bool


def record_anomalies(connection: Connection, run: JudgedRun, anomalies: Sequence[Anomaly]) -> list[Event]:
    """Store the anomalies of one execution, flag it, and continue or begin their events; one event for each.

    The rules are locked: two anomalies of one rule are recorded one after the other and find themselves in one event.
    """
    # What is found has to reach the disk, unlike the lock that was taken to look (SET LOCAL of the judgement).
    connection.execute(text("SET LOCAL synchronous_commit TO DEFAULT"))
    events = [_continue_event(connection, run, anomaly) for anomaly in anomalies]
    results = [_result(run, event) for event in events]
    # A rule that was given another metric since it flagged this run has its result already.
    connection.execute(upsert(AnomalyDetectionResult).values(results).on_conflict_do_nothing())
    flags = dict.fromkeys((anomaly.metric for anomaly in anomalies), True)
    connection.execute(text(_FLAG), {"execution_id": run.id, "metrics": list(flags)})
    return events


_FLAG = """
UPDATE pipeline_execution SET anomaly_flags = anomaly_flags
    || (SELECT jsonb_object_agg(metric, true) FROM unnest(CAST(:metrics AS text[])) AS metric)
WHERE id = :execution_id
"""


def _continue_event(connection: Connection, run: JudgedRun, anomaly: Anomaly) -> Event:
    """Join the event of the run before, or that of the run after when this one is judged late; else begin one."""
    before = _flagged_in_a_row(connection, _BEFORE, run, anomaly, limit=(anomaly.rule.new_normal_after or 2) - 1)
    after = _flagged_in_a_row(connection, _AFTER, run, anomaly, limit=1)
    event = _extend(connection, run, next((row.event_id for row in [*before, *after]), None))
    if event is None:
        event = _extend(connection, run, _begin(connection, run, anomaly))
    if event is None:
        raise RuntimeError("the event that was begun just now is gone")
    accepted = _is_new_normal(anomaly.rule, len(before) + 1) and _accept_level(
        connection, anomaly.rule.id, event.id, since=event.started_at, until=run.end_date
    )
    return Event(event.id, anomaly, event.execution_count, event.alerted, accepted)


def _is_new_normal(rule: Rule, in_a_row: int) -> bool:
    # The seasonal method follows a new level by itself; to forget what was before would cost it the week it knows.
    return rule.new_normal_after is not None and in_a_row >= rule.new_normal_after and rule.method != Method.SEASONAL


def _neighbours(comparison: str, order: str) -> dict[str, str]:
    """By metric: the pipeline's runs on one side of a run, the nearest first, by ix_…_pipeline_id_start_date."""
    return {
        metric.value: f"""
            SELECT result.event_id, result.z_score > 0 AS high
            FROM pipeline_execution AS run
            LEFT JOIN (
                anomaly_detection_result AS result
                JOIN anomaly_event AS event ON event.id = result.event_id AND event.accepted_at IS NULL
            ) ON result.pipeline_execution_id = run.id AND result.rule_id = :rule_id
                AND result.metric_field = '{metric.value}'
            WHERE run.pipeline_id = :pipeline_id AND run.completed_successfully AND run.{metric.value} IS NOT NULL
                AND (run.start_date, run.id) {comparison} (:start_date, :id)
            ORDER BY run.start_date {order}, run.id {order} LIMIT :limit
        """  # noqa: S608 - the names of the metrics, which are code
        for metric in Metric
    }


_BEFORE = _neighbours("<", "DESC")
_AFTER = _neighbours(">", "ASC")


def _flagged_in_a_row(
    connection: Connection, statements: dict[str, str], run: JudgedRun, anomaly: Anomaly, *, limit: int
) -> list[Row[Any]]:
    """The nearest runs as long as they were flagged by the same rule on the same side, and not accepted since."""
    parameters = {
        "rule_id": anomaly.rule.id,
        "pipeline_id": run.pipeline_id,
        "start_date": run.start_date,
        "id": run.id,
        "limit": limit,
    }
    runs = connection.execute(text(statements[anomaly.metric]), parameters)
    high = anomaly.side is Direction.HIGH
    return list(takewhile(lambda row: row.event_id is not None and row.high == high, runs))


def _begin(connection: Connection, run: JudgedRun, anomaly: Anomaly) -> int:
    statement = insert(AnomalyEvent).values(
        rule_id=anomaly.rule.id,
        pipeline_id=run.pipeline_id,
        metric_field=anomaly.metric,
        direction=anomaly.side.value,
        first_execution_id=run.id,
        last_execution_id=run.id,
        started_at=run.end_date,
        last_at=run.end_date,
        execution_count=0,
    )
    return int(connection.execute(statement.returning(AnomalyEvent.id)).scalar_one())


def _extend(connection: Connection, run: JudgedRun, event_id: int | None) -> Row[Any] | None:
    """The event with one run more; None when there is none, or retention has deleted it meanwhile."""
    parameters = {"event_id": event_id, "execution_id": run.id, "ended_at": run.end_date}
    return connection.execute(text(_EXTEND), parameters).one_or_none()


_EXTEND = """
UPDATE anomaly_event SET execution_count = execution_count + 1,
    first_execution_id = CASE WHEN :ended_at < started_at THEN :execution_id ELSE first_execution_id END,
    last_execution_id = CASE WHEN :ended_at > last_at THEN :execution_id ELSE last_execution_id END,
    started_at = least(started_at, :ended_at), last_at = greatest(last_at, :ended_at)
WHERE id = :event_id
RETURNING id, started_at, execution_count, alerted
"""


_ACCEPT_LEVEL = """
WITH rule AS (
    UPDATE anomaly_detection_rule SET normal_from = :since, normal_until = :until
    WHERE id = :rule_id AND (normal_from IS NULL OR normal_from < :since)
    RETURNING id
)
UPDATE anomaly_event SET accepted_at = now() FROM rule WHERE anomaly_event.id = :event_id
"""


def _accept_level(connection: Connection, rule_id: int, event_id: int, *, since: datetime, until: datetime) -> bool:
    """From now on the runs that ended from ``since`` on are the baseline, with those flagged up to ``until``.

    False when the rule has a newer normal: what a backfill finds of the past does not replace it.
    """
    parameters = {"rule_id": rule_id, "event_id": event_id, "since": since, "until": until}
    return connection.execute(text(_ACCEPT_LEVEL), parameters).rowcount > 0


def _result(run: JudgedRun, event: Event) -> dict[str, Any]:
    anomaly = event.anomaly
    rule, within = anomaly.rule, anomaly.within
    return {
        "rule_id": rule.id,
        "pipeline_execution_id": run.id,
        "event_id": event.id,
        "metric_field": rule.metric,
        "violation_value": anomaly.value,
        "z_score": anomaly.z_score,
        "historical_mean": within.mean,
        "historical_std": within.std,
        "z_threshold": rule.z_threshold,
        "lower_bound": within.lower,
        "upper_bound": within.upper,
        "execution_count": anomaly.expectation.execution_count,
        "context": {
            "hour_recorded": run.hour_recorded,
            "lookback_days": rule.lookback_days,
            "minimum_executions": rule.minimum_executions,
            "sample_std": anomaly.expectation.sample_std,
            "method": rule.method,
            "seasonality": anomaly.expectation.bucket,
        },
    }
