"""Judging an execution against the history of its pipeline.

The method is the z-score of NIST/SEMATECH, e-Handbook of Statistical Methods, 1.3.5.17 ("Detection of Outliers"),
with four changes: the judged value is no part of its own baseline, nor are values that were flagged or lie far out; the
standard deviation has a floor; and the range is a prediction interval, as wide as few values need it to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Connection, text

from watcher_server.anomalies.baseline import expect_by_baselines
from watcher_server.anomalies.collapse import find_collapses
from watcher_server.anomalies.expectations import Expectation, Moment
from watcher_server.anomalies.past import find_thresholds
from watcher_server.anomalies.recording import Anomaly, JudgedRun, end_anomalies, record_anomalies, tell_anomalies
from watcher_server.anomalies.rules import Method, Rule
from watcher_server.anomalies.series import expect_by_series
from watcher_server.database.statements import numbered
from watcher_server.executions.reading import require_execution

_EXECUTION = """
SELECT coalesce(pipeline.display_name, pipeline.name) AS pipeline_name,
    execution.start_date, execution.end_date, execution.hour_recorded,
    execution.date_recorded, execution.anomaly_flags, execution.backfill,
    extract(epoch FROM now() - execution.end_date)::float8 AS seconds_ago,
    EXISTS (
        SELECT FROM incident
        WHERE incident.pipeline_id = pipeline.id AND kind = 'anomalous' AND (state <> 'resolved' OR quiet)
    ) AS has_incident,
    execution.duration_seconds, execution.inserts, execution.updates, execution.soft_deletes, execution.total_rows,
    execution.throughput,
    rule.id, rule.metric_field AS metric, rule.z_threshold, rule.lookback_days, rule.minimum_executions, rule.method,
    rule.seasonality, rule.direction, rule.minimum_std_percent, rule.minimum_std, rule.new_normal_after,
    rule.normal_from, rule.normal_until, rule.learning, rule.alarms_per_month, rule.alarm_threshold,
    rule.alarm_threshold_due, rule.holidays
FROM pipeline_execution AS execution
JOIN pipeline ON pipeline.id = execution.pipeline_id
LEFT JOIN anomaly_detection_rule AS rule ON rule.pipeline_id = pipeline.id AND rule.active
    AND pipeline.archived_at IS NULL
    -- A rule that has been given another metric keeps its one result of an execution.
    AND NOT EXISTS (
        SELECT FROM anomaly_detection_result AS result
        WHERE result.rule_id = rule.id AND result.pipeline_execution_id = execution.id
    )
WHERE execution.id = %(pipeline_execution_id)s AND execution.pipeline_id = %(pipeline_id)s
    AND execution.completed_successfully
"""

_READ_EXECUTION = numbered(_EXECUTION)

# Of two deliveries of one task, the second waits here, and sees what the first wrote. NO KEY lets child runs start
# meanwhile, whose foreign key points to this row.
_LOCK_EXECUTION = numbered(f"{_EXECUTION} FOR NO KEY UPDATE OF execution")


class _Found(NamedTuple):
    """A row of these statements: the execution, and one of its rules; without any, the columns of the rule are None."""

    pipeline_name: str
    start_date: datetime
    end_date: datetime
    hour_recorded: int
    date_recorded: date
    anomaly_flags: dict[str, bool]
    backfill: bool
    seconds_ago: float
    has_incident: bool
    duration_seconds: int | None
    inserts: int | None
    updates: int | None
    soft_deletes: int | None
    total_rows: int | None
    throughput: Decimal | None
    id: int | None
    metric: str
    z_threshold: float
    lookback_days: int
    minimum_executions: int
    method: str
    seasonality: str
    direction: str
    minimum_std_percent: float
    minimum_std: float
    new_normal_after: int | None
    normal_from: datetime | None
    normal_until: datetime | None
    learning: bool
    alarms_per_month: float | None
    alarm_threshold: float | None
    alarm_threshold_due: datetime | None
    holidays: Sequence[str]


_LOCK_RULES = text("""
SELECT id FROM anomaly_detection_rule WHERE id = ANY(CAST(:rule_ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE
""")

_CHANGE_LEARNING = text("""
UPDATE anomaly_detection_rule AS rule SET learning = judged.learning
FROM unnest(CAST(:rule_ids AS bigint[]), CAST(:learning AS boolean[])) AS judged (id, learning)
WHERE rule.id = judged.id
""")


@dataclass(frozen=True)
class Judgement:
    """What the rules say of a run: what each expects, by the rule's id, and the anomalies.

    ``changed`` are the rules that begin or cease to learn; ``has_incident`` says that the run may end an incident,
    ``is_due`` that a threshold has to be found first, and that nothing is judged yet.
    """

    run: JudgedRun
    rules: list[Rule]
    expectations: dict[int, Expectation]
    anomalies: list[Anomaly]
    changed: list[Rule]
    has_incident: bool
    is_due: bool = False

    @property
    def has_consequences(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.anomalies or self.changed or self.is_due or (self.has_incident and not self.run.backfill))


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

    A backfill counts for no baseline, ends nothing, and is in events of backfills only; no incident is about it.

    An execution that is running or failed is not judged. The transaction may be one whose commit does not wait for the
    disk: it waits once an anomaly was found. Raises ValueError if an id is not an integer, NotFoundError if there is no
    such pipeline, or it has no such execution.
    """
    judgement = judge(connection, pipeline_id, pipeline_execution_id, lock=True)
    if judgement is None or not judgement.has_consequences:
        return []
    run, anomalies, changed = judgement.run, judgement.anomalies, judgement.changed
    to_write = [rule.id for rule in (*changed, *(anomaly.rule for anomaly in anomalies))]
    if to_write:
        # In the order of their ids, so that two executions of a pipeline never wait for each other's rules.
        connection.execute(_LOCK_RULES, {"rule_ids": to_write})
    if changed:
        learning = [not rule.learning for rule in changed]
        connection.execute(_CHANGE_LEARNING, {"rule_ids": [rule.id for rule in changed], "learning": learning})
    if anomalies:
        events = record_anomalies(connection, run, anomalies)
        tell_anomalies(connection, run, events, alert_max_age_hours=alert_max_age_hours)
    elif not run.backfill:
        # What was waited for may have opened it meanwhile.
        usual = [rule.metric for rule in judgement.rules if judgement.expectations[rule.id].within is not None]
        end_anomalies(connection, run, usual)
    return anomalies


def judge(connection: Connection, pipeline_id: int, pipeline_execution_id: int, *, lock: bool) -> Judgement | None:
    """What the rules say of a run; None when no rule has anything to judge.

    Without ``lock`` nothing is written, and it needs no transaction: most runs are usual, and two statements say so.
    With it, the thresholds of alarm budgets that are due are found anew. Raises ValueError if an id is not an integer,
    NotFoundError if there is no such pipeline, or it has no such execution.
    """
    ids = {"pipeline_id": pipeline_id, "pipeline_execution_id": pipeline_execution_id}
    for name, value in ids.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} must be an integer, not {value!r}.")  # noqa: TRY004 - the value of a message, not of code
    rows = [_Found(*row) for row in (_LOCK_EXECUTION if lock else _READ_EXECUTION).run(connection, ids).fetchall()]
    if not rows:
        require_execution(connection, pipeline_id, pipeline_execution_id)
    values = _find_values(rows)
    if not values:
        return None
    row = rows[0]
    moment = Moment(row.start_date, row.end_date, row.hour_recorded, row.date_recorded)
    run = JudgedRun(pipeline_execution_id, pipeline_id, row.pipeline_name, moment, row.seconds_ago, row.backfill)
    due = [rule for rule, _ in values if rule.is_due(moment.ended_at)]
    if due and not lock:
        return Judgement(run, [], {}, [], [], row.has_incident, is_due=True)
    if due:
        connection.execute(_LOCK_RULES, {"rule_ids": [rule.id for rule, _ in values]})
        found = find_thresholds(connection, pipeline_id, moment, due)
        values = [(found.get(rule.id, rule), value) for rule, value in values]
    rules = [rule for rule, _ in values]
    expectations = find_expectations(connection, pipeline_id, moment, rules)
    return Judgement(
        run,
        rules,
        expectations,
        anomalies=[
            Anomaly(rule, value, within, expectations[rule.id])
            for rule, value in values
            if (within := expectations[rule.id].within) is not None and within.side_of(value, rule.direction)
        ],
        changed=[rule for rule in rules if rule.learning != (expectations[rule.id].within is None)],
        has_incident=row.has_incident,
    )


def find_expectations(
    connection: Connection, pipeline_id: int, moment: Moment, rules: Sequence[Rule]
) -> dict[int, Expectation]:
    """What each rule expects of a run at that moment, by the rule's id.

    A rule that finds too few runs because their level has collapsed expects what was usual before it did.
    """
    expected = _expect(connection, pipeline_id, moment, rules)
    learning = [rule for rule in rules if expected[rule.id].within is None]
    collapses = find_collapses(connection, moment, learning)
    for collapsed_at in set(collapses.values()):
        forgetful = [rule for rule in learning if collapses.get(rule.id) == collapsed_at]
        expected |= _expect(connection, pipeline_id, replace(moment, collapsed_at=collapsed_at), forgetful)
    return expected


def _expect(connection: Connection, pipeline_id: int, moment: Moment, rules: Sequence[Rule]) -> dict[int, Expectation]:
    by_series = [rule for rule in rules if rule.method == Method.SEASONAL]
    by_baseline = [rule for rule in rules if rule.method != Method.SEASONAL]
    expected = expect_by_baselines(connection, pipeline_id, moment, by_baseline)
    return expected | expect_by_series(connection, pipeline_id, moment, by_series)


def _find_values(rows: Sequence[_Found]) -> list[tuple[Rule, float]]:
    """Each rule that has something to judge, with the value.

    A metric with a flag was judged before: true was alerted, false was unflagged by hand and stays so.
    """
    return [
        (Rule.of(row, metric=row.metric), float(value))
        for row in rows
        if row.id is not None and row.metric not in row.anomaly_flags
        if (value := getattr(row, row.metric)) is not None
    ]
