"""What else is history: missed runs, events, alerts and daily figures of the same age."""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from tests.incidents.records import add_incident
from tests.support.notifications import add_alert
from tests.support.rows import add_pipeline, add_rule, add_run, ago, change_pipeline
from watcher_server.alerts.models import Alert
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyEvent
from watcher_server.dbt.models import DbtArtifact
from watcher_server.incidents.models import Incident, IncidentEvent
from watcher_server.missed_runs.models import MissedRunLog
from watcher_server.reporting.models import DailyPipelineMetric, DailyPipelineMetricChange
from watcher_server.retention.schemas import CleanupRequest
from watcher_server.retention.service import clean_up

OLD, NEW = ago(days=100), ago(days=10)


def _clean(engine: Engine, batch_size: int = 2) -> dict[str, int]:
    done = clean_up(engine, CleanupRequest(retention_days=90, batch_size=batch_size))
    assert done.finished
    return {name: count for name, count in done.counts.items() if count}


def _left(engine: Engine, column: Any) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.scalars(select(column).order_by(column)))


def _add_missed(connection: Connection, pipeline: int, expected_at: datetime) -> None:
    schedule = {"schedule": "0 2 * * *", "schedule_timezone": "UTC", "schedule_grace_minutes": 10}
    values = {"pipeline_id": pipeline, "expected_at": expected_at, "evaluated_at": expected_at, **schedule}
    connection.execute(insert(MissedRunLog).values(values))


def test_missed_runs_go_but_not_the_one_that_a_pipeline_is_in(engine: Engine) -> None:
    dates = [OLD - timedelta(days=2), OLD - timedelta(days=1), OLD, NEW]
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, last_missed_run=OLD)
        for expected_at in dates:
            _add_missed(connection, pipeline, expected_at)

    assert _clean(engine) == {"total_missed_run_logs_deleted": 2}
    assert _left(engine, MissedRunLog.expected_at) == [OLD, NEW]

    with engine.begin() as connection:
        change_pipeline(connection, pipeline, last_missed_run=None)
    assert _clean(engine) == {"total_missed_run_logs_deleted": 1}


def _add_event(connection: Connection, rule: int, last_at: datetime, *executions: int) -> int:
    event = {"rule_id": rule, "pipeline_id": 1, "metric_field": "total_rows", "direction": "low"}
    ends = {"first_execution_id": 1, "last_execution_id": 1, "started_at": last_at, "last_at": last_at}
    statement = insert(AnomalyEvent).values(**event, **ends, execution_count=1).returning(AnomalyEvent.id)
    event_id = int(connection.scalar(statement) or 0)
    names = ("violation_value", "z_score", "historical_mean", "historical_std", "z_threshold", "lower_bound")
    figures = dict.fromkeys((*names, "upper_bound", "execution_count"), 1)
    for execution in executions:
        result = {"rule_id": rule, "pipeline_execution_id": execution, "metric_field": "total_rows", **figures}
        connection.execute(insert(AnomalyDetectionResult).values(**result, context={}, event_id=event_id))
    return event_id


def test_an_event_goes_when_it_is_old_and_its_last_result_is_gone(engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        rule = add_rule(connection, pipeline)
        gone = add_run(connection, pipeline, start_date=OLD, end_date=OLD + timedelta(minutes=5))
        kept = add_run(connection, pipeline, start_date=OLD, end_date=OLD + timedelta(minutes=5))
        add_run(connection, pipeline, start_date=NEW, end_date=None, parent_id=kept)
        _add_event(connection, rule, OLD, gone)
        of_both = _add_event(connection, add_rule(connection, pipeline, "inserts"), OLD, gone, kept)
        lasting = _add_event(connection, add_rule(connection, pipeline, "updates"), NEW, gone)

    assert _clean(engine) == {
        "total_pipeline_executions_deleted": 1,
        "total_anomaly_detection_results_deleted": 3,
        "total_anomaly_events_deleted": 1,
    }
    assert _left(engine, AnomalyEvent.id) == [of_both, lasting]


def test_alerts_go_when_they_were_delivered(engine: Engine) -> None:
    with engine.begin() as connection:
        for key, created_at, state in (("a", OLD, "sent"), ("b", OLD, "given_up"), ("c", NEW, "sent")):
            add_alert(connection, key, created_at=created_at, state=state)
        add_alert(connection, "d", created_at=OLD, state="merged")

    assert _clean(engine) == {"total_alerts_deleted": 2}
    assert _left(engine, Alert.dedupe_key) == ["b", "c"]


def test_daily_figures_go_with_the_days_that_lie_wholly_before(engine: Engine) -> None:
    edge = ago(days=90).date()
    days = [edge - timedelta(days=2), edge - timedelta(days=1), edge, NEW.date()]
    with engine.begin() as connection:
        for day in days:
            for pipeline in (1, 2):
                _add_figures(connection, day, pipeline)

    assert _clean(engine) == {
        "total_daily_pipeline_metrics_deleted": 4,
        "total_daily_pipeline_metric_changes_deleted": 4,
    }
    assert set(_left(engine, DailyPipelineMetric.date_recorded)) == {edge, NEW.date()}
    assert set(_left(engine, DailyPipelineMetricChange.date_recorded)) == {edge, NEW.date()}


def test_files_of_dbt_are_forgotten(engine: Engine) -> None:
    with engine.begin() as connection:
        for invocation, applied_at in (("a", OLD), ("b", OLD), ("c", NEW)):
            file = {"invocation_id": invocation, "kind": "sources", "generated_at": OLD, "applied_at": applied_at}
            connection.execute(insert(DbtArtifact).values(file))

    assert _clean(engine) == {"total_dbt_artifacts_deleted": 2}
    assert _left(engine, DbtArtifact.invocation_id) == ["c"]


def _add_figures(connection: Connection, day: date, pipeline: int) -> None:
    key = {"date_recorded": day, "pipeline_id": pipeline}
    counts = dict.fromkeys(("total_executions", "ended_executions", "failed_executions", "measured_durations"), 1)
    connection.execute(insert(DailyPipelineMetric).values(**key, **counts))
    connection.execute(insert(DailyPipelineMetricChange).values(key))


def test_an_event_that_is_being_extended_is_left_for_the_next_time(engine: Engine) -> None:
    with engine.begin() as connection:
        event = _add_event(connection, add_rule(connection, add_pipeline(connection)), OLD)
    with engine.begin() as extending:
        extending.execute(select(AnomalyEvent.id).where(AnomalyEvent.id == event).with_for_update())
        assert _clean(engine) == {}
    assert _clean(engine) == {"total_anomaly_events_deleted": 1}


def test_resolved_incidents_go_with_their_timeline_and_open_ones_stay(engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        old = {"opened_at": OLD, "resolved_at": OLD}
        root = add_incident(connection, pipeline, "stale", **old)
        kept = [
            add_incident(connection, pipeline, "failing", opened_at=OLD, root_id=root),
            add_incident(connection, pipeline, "late", opened_at=OLD, state="acknowledged"),
            add_incident(connection, pipeline, "late", opened_at=OLD, resolved_at=NEW),
            # It keeps the check from opening another.
            add_incident(connection, pipeline, "missed", **old, resolution="hand", quiet=True),
        ]
        for _ in range(3):
            add_incident(connection, pipeline, "stale", **old)
        for id_ in (root, kept[0]):
            event = {"incident_id": id_, "change": "opened", "actor": "watcher"}
            connection.execute(insert(IncidentEvent).values(event))

    assert _clean(engine) == {"total_incidents_deleted": 4}
    assert _left(engine, Incident.id) == kept
    assert _left(engine, IncidentEvent.incident_id) == [kept[0]]
    assert _left(engine, Incident.root_id) == [None] * 4
