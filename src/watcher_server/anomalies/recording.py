"""Recording and alerting anomalies: results, flags, the events of consecutive results, and one alert for each event."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, join, literal, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.anomalies.collapse import has_collapsed
from watcher_server.anomalies.expectations import Expectation, ExpectedRange, Moment
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyEvent
from watcher_server.anomalies.normals import WITH_PRESENT_NORMAL
from watcher_server.anomalies.rules import Direction, Method, Rule
from watcher_server.executions.models import PipelineExecution
from watcher_server.incidents.impact import name_in_root
from watcher_server.incidents.kinds import TEXTS, Kind
from watcher_server.incidents.opening import Change, Finding, Opening, lock_incidents, open_incidents
from watcher_server.incidents.resolving import resolve, resolve_what_is_over
from watcher_server.incidents.roots import GROUP_WAIT_SECONDS
from watcher_server.incidents.telling import choose_speakers, mark_told
from watcher_server.lineage.impact import count_downstream, downstream_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgedRun:
    """The execution that was judged, how many seconds ago it ended, and whether it loads the past."""

    id: int
    pipeline_id: int
    pipeline_name: str
    moment: Moment
    seconds_ago: float
    backfill: bool


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
    # The transaction of the task does not wait for the disk, but the commit of an anomaly has to.
    connection.execute(text("SET LOCAL synchronous_commit TO DEFAULT"))
    events = [_continue_event(connection, run, anomaly) for anomaly in anomalies]
    results = [_result(run, event) for event in events]
    # A rule that was given another metric since it flagged this run has its result already.
    connection.execute(upsert(AnomalyDetectionResult).values(results).on_conflict_do_nothing())
    flags = dict.fromkeys((anomaly.metric for anomaly in anomalies), True)
    statement = """
        UPDATE pipeline_execution SET anomaly_flags = anomaly_flags
            || (SELECT jsonb_object_agg(metric, true) FROM unnest(CAST(:metrics AS text[])) AS metric)
        WHERE id = :execution_id
    """
    connection.execute(text(statement), {"execution_id": run.id, "metrics": list(flags)})
    return events


def _continue_event(connection: Connection, run: JudgedRun, anomaly: Anomaly) -> Event:
    """Join the event of the run before, or that of the run after when this one is judged late; else begin one."""
    limit = (anomaly.rule.new_normal_after or 2) - 1
    before = _flagged_in_a_row(connection, run, anomaly, before=True, limit=limit)
    after = _flagged_in_a_row(connection, run, anomaly, before=False, limit=1)
    event = _extend(connection, run, next((event_id for event_id, _ in [*before, *after]), None))
    if event is None:
        event = _begin(connection, run, anomaly)
    is_new_normal = not run.backfill and _is_new_normal(anomaly, [anomaly.value, *(value for _, value in before)])
    accepted = is_new_normal and _accept_level(
        connection, anomaly.rule.id, event.id, since=event.started_at, until=run.moment.ended_at
    )
    return Event(event.id, anomaly, event.execution_count, event.alerted, accepted)


def _is_new_normal(anomaly: Anomaly, in_a_row: Sequence[float]) -> bool:
    rule = anomaly.rule
    # The seasonal method follows a new level by itself, and would have to learn the week anew.
    if rule.new_normal_after is None or len(in_a_row) < rule.new_normal_after or rule.method == Method.SEASONAL:
        return False
    return not has_collapsed(in_a_row, anomaly.within.mean)


def _flagged_in_a_row(
    connection: Connection, run: JudgedRun, anomaly: Anomaly, *, before: bool, limit: int
) -> list[tuple[int, float]]:
    """The events and values of the nearest runs, as long as these were flagged by the same rule on the same side.

    The nearest are those that started before (or after) the run and have the metric, by
    ix_pipeline_execution_pipeline_id_start_date; for a backfill the nearest backfills, else the nearest others. An
    accepted event ends the row.
    """
    execution, result, event = PipelineExecution, AnomalyDetectionResult, AnomalyEvent
    there, here = tuple_(execution.start_date, execution.id), tuple_(literal(run.moment.started_at), literal(run.id))
    statement = (
        select(event.id, result.violation_value, result.z_score > 0)
        .select_from(execution)
        .outerjoin(
            join(result, event, and_(event.id == result.event_id, event.accepted_at.is_(None))),
            and_(
                result.pipeline_execution_id == execution.id,
                result.rule_id == anomaly.rule.id,
                result.metric_field == anomaly.metric,
            ),
        )
        .where(
            execution.pipeline_id == run.pipeline_id,
            execution.completed_successfully.is_(True),
            execution.backfill.is_(run.backfill),
            getattr(execution, anomaly.metric).is_not(None),
            there < here if before else there > here,
        )
        .order_by(
            *((execution.start_date.desc(), execution.id.desc()) if before else (execution.start_date, execution.id))
        )
        .limit(limit)
    )
    is_high = anomaly.side is Direction.HIGH
    nearest = takewhile(lambda row: row[0] is not None and row[2] == is_high, connection.execute(statement))
    return [(event_id, value) for event_id, value, _ in nearest]


def _begin(connection: Connection, run: JudgedRun, anomaly: Anomaly) -> Row[Any]:
    event = AnomalyEvent
    statement = insert(event).values(
        rule_id=anomaly.rule.id,
        pipeline_id=run.pipeline_id,
        metric_field=anomaly.metric,
        direction=anomaly.side.value,
        first_execution_id=run.id,
        last_execution_id=run.id,
        started_at=run.moment.ended_at,
        last_at=run.moment.ended_at,
        execution_count=1,
    )
    returned: Any = statement.returning(event.id, event.started_at, event.execution_count, event.alerted)
    row: Row[Any] = connection.execute(returned).one()
    return row


def _extend(connection: Connection, run: JudgedRun, event_id: int | None) -> Row[Any] | None:
    """The event with one run more; None when there is none, or retention has deleted it meanwhile."""
    parameters = {"event_id": event_id, "execution_id": run.id, "ended_at": run.moment.ended_at}
    statement = """
        UPDATE anomaly_event SET execution_count = execution_count + 1,
            first_execution_id = CASE WHEN :ended_at < started_at THEN :execution_id ELSE first_execution_id END,
            last_execution_id = CASE WHEN :ended_at > last_at THEN :execution_id ELSE last_execution_id END,
            started_at = least(started_at, :ended_at), last_at = greatest(last_at, :ended_at)
        WHERE id = :event_id
        RETURNING id, started_at, execution_count, alerted
    """
    return connection.execute(text(statement), parameters).one_or_none()


def _accept_level(connection: Connection, rule_id: int, event_id: int, *, since: datetime, until: datetime) -> bool:
    """Make the runs that ended from ``since`` on the baseline, including those flagged up to ``until``.

    False when the rule has a newer normal, which a backfill of the past does not replace.
    """
    parameters = {"rule_id": rule_id, "event_id": event_id, "since": since, "until": until}
    statement = f"""
        WITH rule AS (
            UPDATE anomaly_detection_rule SET normal_from = :since, normal_until = :until,
                former_normals = {WITH_PRESENT_NORMAL}
            WHERE id = :rule_id AND (normal_from IS NULL OR normal_from < :since)
            RETURNING id
        )
        UPDATE anomaly_event SET accepted_at = now() FROM rule WHERE anomaly_event.id = :event_id
    """  # noqa: S608 - a constant
    return connection.execute(text(statement), parameters).rowcount > 0


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
            "hour_recorded": run.moment.hour_recorded,
            "lookback_days": rule.lookback_days,
            "minimum_executions": rule.minimum_executions,
            "sample_std": anomaly.expectation.sample_std,
            "method": rule.method,
            "seasonality": anomaly.expectation.bucket,
        },
    }


def tell_anomalies(
    connection: Connection, run: JudgedRun, events: Sequence[Event], *, alert_max_age_hours: int
) -> None:
    """Open the pipeline's incident, and alert the anomalies in one alert unless all their events are; each new normal.

    Anomalies of an execution that ended more than ``alert_max_age_hours`` ago are only logged.
    """
    message = (
        f"Anomalies Detected for Pipeline '{run.pipeline_name}' (ID: {run.pipeline_id}) - Execution ID {run.id} flagged"
    )
    if run.seconds_ago > alert_max_age_hours * 3600:
        metrics = ", ".join(event.anomaly.metric for event in events)
        logger.info("%s for %s; it ended too long ago to alert", message, metrics)
        return
    if run.backfill:
        _alert_backfill(connection, run, events, message)
        return
    # Before the evidence of the open incident is read, so that no other judgement replaces it meanwhile.
    lock_incidents(connection)
    (opening,) = open_incidents(connection, Kind.ANOMALOUS, [_finding(connection, run, events)])
    if choose_speakers(connection, [opening]):
        _alert(connection, run, events, opening, message)
    elif opening.change is not Change.SILENCED:
        # Its page, and the message about its root, tell of it.
        _mark_alerted(connection, events)
        if opening.change in {Change.OPENED, Change.REOPENED}:
            name_in_root(connection, opening.incident_id)
    accepted = [event for event in events if event.accepted]
    for event in accepted:
        _tell_new_normal(connection, run, event, opening.incident_id)
    if accepted and resolve_what_is_over(connection, run.pipeline_id):
        # The message about the new normal says that it is over.
        mark_told(connection, [opening.incident_id], "resolved")


# A later run was judged, and is usual: by ix_pipeline_execution_pipeline_id_start_date and the tasks of each run.
_IS_PAST = """
SELECT EXISTS (
    SELECT FROM pipeline_execution AS later
    JOIN task ON task.pipeline_execution_id = later.id
        AND task.name = 'detect_anomalies_task' AND task.state = 'SUCCESS'
    WHERE later.pipeline_id = :pipeline_id AND (later.start_date, later.id) > (:started_at, :execution_id)
        AND later.completed_successfully AND NOT later.backfill
        AND watcher_anomalous_metrics(later.id, later.anomaly_flags) = '{}'
)
"""

# When an older run is judged late, the incident goes on to show the newest one that is out of range.
_NEWER_EVIDENCE = """
SELECT newer.id FROM incident JOIN pipeline_execution AS newer ON newer.id = incident.execution_id
WHERE incident.pipeline_id = :pipeline_id AND kind = 'anomalous' AND state <> 'resolved'
    AND (newer.start_date, newer.id) > (:started_at, :execution_id)
"""


def _place(run: JudgedRun) -> dict[str, Any]:
    """Where a run stands among those of its pipeline, as parameters of a statement."""
    return {"pipeline_id": run.pipeline_id, "started_at": run.moment.started_at, "execution_id": run.id}


def _finding(connection: Connection, run: JudgedRun, events: Sequence[Event]) -> Finding:
    return Finding(
        run.moment.ended_at,
        f"Execution ID {run.id}: "
        + ", ".join(f"{event.anomaly.metric} {_describe(event.anomaly)}" for event in events),
        pipeline_id=run.pipeline_id,
        execution_id=connection.scalar(text(_NEWER_EVIDENCE), _place(run)) or run.id,
        count=max(event.execution_count for event in events),
        is_new=not all(event.alerted for event in events),
        over=bool(connection.scalar(text(_IS_PAST), _place(run))),
    )


def _alert(connection: Connection, run: JudgedRun, events: Sequence[Event], opening: Opening, message: str) -> None:
    details = [(event.anomaly.metric, _describe(event.anomaly)) for event in events]
    downstream = downstream_text(count_downstream(connection, [run.pipeline_id]).get(run.pipeline_id, 0))
    if downstream:
        details.append(("Affected", downstream))
    alert = NewAlert(
        dedupe_key=f"anomaly:{run.id}",
        level=opening.level,
        title=TEXTS[Kind.ANOMALOUS].title,
        message=message,
        details=details,
        kind=Kind.ANOMALOUS,
        change=opening.change,
        subjects=[Subject(incident_id=opening.incident_id, pipeline_id=run.pipeline_id, execution_id=run.id)],
        # What goes out of range in the same moment, for the same reason, is told with it.
        wait_seconds=GROUP_WAIT_SECONDS,
    )
    # An execution is alerted once. If it has been alerted before, the next execution of the event is alerted.
    if raise_alert(connection, alert) is not None:
        mark_told(connection, [opening.incident_id], opening.change)
        _mark_alerted(connection, events)


def _alert_backfill(connection: Connection, run: JudgedRun, events: Sequence[Event], message: str) -> None:
    """Tell people of a run that loads the past, unless all of its events were told. The pipeline is not anomalous."""
    alert = NewAlert(
        dedupe_key=f"anomaly:{run.id}",
        level=TEXTS[Kind.ANOMALOUS].level,
        title=TEXTS[Kind.ANOMALOUS].title,
        message=f"{message} (backfill)",
        details=[(event.anomaly.metric, _describe(event.anomaly)) for event in events],
        kind=Kind.ANOMALOUS,
        subjects=[Subject(pipeline_id=run.pipeline_id, execution_id=run.id)],
    )
    if not all(event.alerted for event in events) and raise_alert(connection, alert) is not None:
        _mark_alerted(connection, events)


def _mark_alerted(connection: Connection, events: Sequence[Event]) -> None:
    new = [event.id for event in events if not event.alerted]
    if new:
        connection.execute(update(AnomalyEvent).where(AnomalyEvent.id.in_(new)).values(alerted=True))


# By ix_incident_current. A run that says nothing of a metric that is out of range ends nothing.
_USUAL = """
SELECT incident.id FROM incident LEFT JOIN pipeline_execution AS flagged ON flagged.id = incident.execution_id
WHERE incident.pipeline_id = :pipeline_id AND kind = 'anomalous' AND (state <> 'resolved' OR quiet)
    AND ((flagged.start_date, flagged.id) > (:started_at, :execution_id)) IS NOT TRUE
    AND NOT EXISTS (
        SELECT FROM anomaly_detection_result AS result
        JOIN anomaly_detection_rule AS rule ON rule.id = result.rule_id AND rule.active
        WHERE result.pipeline_execution_id = flagged.id AND flagged.anomaly_flags -> result.metric_field = 'true'
            AND result.metric_field <> ALL(CAST(:usual_metrics AS text[]))
    )
"""


def end_anomalies(connection: Connection, run: JudgedRun, usual_metrics: Collection[str]) -> None:
    """Resolve the incident of a pipeline whose newest run was judged, and is usual by all that was out of range."""
    lock_incidents(connection)
    open_ids = connection.scalars(text(_USUAL), {**_place(run), "usual_metrics": list(usual_metrics)}).all()
    resolve(connection, open_ids, why=f"Execution ID {run.id} is usual.")


def _tell_new_normal(connection: Connection, run: JudgedRun, event: Event, incident_id: int) -> None:
    anomaly = event.anomaly
    alert = NewAlert(
        dedupe_key=f"new normal:{event.id}",
        level=Level.INFO,
        title="Anomaly Detection",
        message=(
            f"New Normal for Pipeline '{run.pipeline_name}' (ID: {run.pipeline_id})"
            f" - {anomaly.metric} has been {anomaly.side.value} {event.execution_count} times in a row"
        ),
        details=[
            (anomaly.metric, _describe(anomaly)),
            ("From now on", "these runs are the baseline, and the rule learns from them"),
        ],
        subjects=[Subject(incident_id=incident_id, pipeline_id=run.pipeline_id, execution_id=run.id)],
    )
    raise_alert(connection, alert)


def _describe(anomaly: Anomaly) -> str:
    expected = f"{_number(anomaly.within.lower)} to {_number(anomaly.within.upper)}"
    return (
        f"{_number(anomaly.value)} (expected {expected}; z-score {anomaly.z_score:.1f},"
        f" from {anomaly.expectation.execution_count} executions)"
    )


def _number(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")
