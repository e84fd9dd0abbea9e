"""Rows for every kind of thing that a page shows, with markup in each field that users can fill."""

from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, func, insert, select, update

from tests.incidents.records import add_incident
from tests.support.notifications import add_alert
from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago, now
from tests.support.tasks import add_task, add_waiting
from watcher_server.addresses.models import Address, AddressType
from watcher_server.alerts.models import AlertSubject, Notification
from watcher_server.alerts.service import Subject
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyEvent
from watcher_server.incidents.models import IncidentEvent
from watcher_server.lineage.models import AddressLineage, AddressLineageClosure
from watcher_server.missed_runs.models import MissedRunLog
from watcher_server.openlineage.models import (
    OpenLineageDataset,
    OpenLineageDropped,
    OpenLineageFailedEvent,
    OpenLineageSource,
)
from watcher_server.pipelines.models import Pipeline

# Closes a script and an attribute, adds an element and a template expression, and has JavaScript's two line separators.
MARKUP = "</script><img src=x onerror=alert(1)>'\"{{7*7}}\u2028\u2029"
# A page holds none of these if it escapes the markup.
RAW = ("<img src=x", "49\u2028", "</script><img")

RUNBOOK = f"javascript:{MARKUP}"

Ids = dict[str, Any]


def add_hostile_scene(connection: Connection) -> Ids:
    """Insert the rows; returns their ids under the names of the path parameters."""
    pipeline = add_pipeline(
        connection,
        MARKUP,
        type_fields={"name": MARKUP[:50]},
        pipeline_metadata={"tags": [MARKUP], MARKUP: {MARKUP: MARKUP}},
        freshness_number=1,
        freshness_datepart="hour",
        schedule="0 * * * *",
    )
    rule = add_rule(connection, pipeline)
    add_history(connection, pipeline, range(1_000, 1_010), watermark=MARKUP[:40], next_watermark=MARKUP[:50])
    failed = add_run(
        connection,
        pipeline,
        completed_successfully=False,
        end_date=ago(minutes=5),
        execution_metadata={"error": MARKUP, MARKUP: [MARKUP]},
    )
    run = add_run(connection, pipeline, total_rows=10, end_date=ago(minutes=1), parent_id=failed)
    assert detect_anomalies(connection, pipeline, run, alert_max_age_hours=24)
    _add_lineage(connection, pipeline)
    _add_sources(connection)
    alert = _add_alert(connection, pipeline)
    incident = _add_incidents(connection, pipeline, failed, alert)
    return {
        "pipeline_id": pipeline,
        "address_id": connection.scalar(select(func.min(Address.id))),
        "execution_id": run,
        "rule_id": rule,
        "result_id": connection.scalar(select(AnomalyDetectionResult.id)),
        "event_id": connection.scalar(select(AnomalyEvent.id)),
        "alert_id": alert,
        "incident_id": incident,
        "notification_id": connection.scalar(select(Notification.id)),
        "task_id": _add_tasks(connection, pipeline, run),
        "failed_id": failed,
        "change": "set",
        "path": "watcher.css",
        "document": "runs",
    }


def _add_lineage(connection: Connection, pipeline: int) -> None:
    connection.execute(insert(AddressType).values(name=MARKUP[:50], group_name=MARKUP[:50]))
    places = [{"name": f"{MARKUP} {number}", "address_type_id": 1} for number in (1, 2)]
    connection.execute(insert(Address).values(places))
    edge = {"pipeline_id": pipeline, "source_address_id": 1, "target_address_id": 2}
    connection.execute(insert(AddressLineage).values(edge))
    reach = [(1, 1, 0, [1]), (2, 2, 0, [2]), (1, 2, 1, [1, 2])]
    columns = ("source_address_id", "target_address_id", "depth", "lineage_path")
    connection.execute(insert(AddressLineageClosure).values([dict(zip(columns, row, strict=True)) for row in reach]))


def _add_sources(connection: Connection) -> None:
    """Events of a namespace, its producer, and two addresses that may be one, all named by markup."""
    lane = MARKUP[:200]
    sent = {"lane": lane, "producer": f"https://{MARKUP}", "integration": MARKUP[:50]}
    connection.execute(insert(OpenLineageSource).values([sent, sent | {"producer": MARKUP}]))
    connection.execute(insert(OpenLineageDropped).values(facet=MARKUP[:100], known=True, number=1))
    failed = {"id": 0, "received_at": now(), "lane": lane, "error": MARKUP, "body": b""}
    connection.execute(insert(OpenLineageFailedEvent).values(failed))
    parts = {"database_name": MARKUP, "schema_name": MARKUP, "table_name": MARKUP}
    connection.execute(update(Address).values(parts))
    named = {"namespace": MARKUP, "name": MARKUP, "address_id": 1, "last_seen_at": now()}
    connection.execute(insert(OpenLineageDataset).values(key=uuid4(), **named))


def _add_alert(connection: Connection, pipeline: int) -> int:
    missed = {"pipeline_id": pipeline, "expected_at": ago(hours=2), "evaluated_at": now(), "schedule": "0 * * * *"}
    connection.execute(insert(MissedRunLog).values(**missed, schedule_timezone="UTC", schedule_grace_minutes=10))
    details = [[MARKUP, MARKUP], ["Task ID", MARKUP]]
    said = {"title": MARKUP, "message": MARKUP, "details": details, "attempts": 1, "last_error": MARKUP}
    return add_alert(connection, "hostile", Subject(pipeline_id=pipeline), kind="missed", **said)


def _add_incidents(connection: Connection, pipeline: int, run: int, alert: int) -> int:
    """One that explains another, with everything that people write of incidents; its id."""
    connection.execute(update(Pipeline).where(Pipeline.id == pipeline).values(owner=MARKUP, runbook_url=RUNBOOK))
    said = {"detail": MARKUP, "assignee": MARKUP, "acknowledged_by": MARKUP, "subject": MARKUP}
    root = add_incident(connection, pipeline, "failing", execution_id=run, state="acknowledged", **said)
    add_incident(connection, None, "queue", root_id=root, **said)
    add_incident(connection, None, "task", resolved_at=ago(hours=1), **said)
    event = {"incident_id": root, "actor": MARKUP, "text": MARKUP}
    connection.execute(
        insert(IncidentEvent), [{**event, "change": each} for each in ("commented", "told", MARKUP[:16])]
    )
    connection.execute(insert(AlertSubject).values(alert_id=alert, incident_id=root))
    return root


def _add_tasks(connection: Connection, pipeline: int, run: int) -> str:
    said = {"exc_type": MARKUP, "exc_message": MARKUP, "retry_count": 1, "max_retries": 3}
    about: dict[str, Any] = {"pipeline_id": pipeline, "pipeline_execution_id": run, "kwargs": {MARKUP: MARKUP}}
    add_task(connection, "PROGRESS", meta={"status": MARKUP, "current_step": MARKUP, "progress": 10**400}, **about)
    add_task(connection, "SUCCESS", name=MARKUP, meta={"result": {MARKUP: MARKUP}}, **about)
    add_waiting(connection, MARKUP)
    history = [{"at": MARKUP, "exc_type": MARKUP, "exc_message": MARKUP}]
    return add_task(connection, "FAILURE", meta=said, traceback=MARKUP, history=history, **about)
