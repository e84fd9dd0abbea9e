"""One of everything that a page can show, each with markup where people and programs may write what they like."""

from typing import Any

from sqlalchemy import Connection, insert, select

from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago, now
from tests.support.tasks import add_task, add_waiting
from watcher_server.addresses.models import Address, AddressType
from watcher_server.alerts.models import Alert
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyEvent
from watcher_server.lineage.models import AddressLineage, AddressLineageClosure
from watcher_server.schedules.models import MissedRunLog

# Ends a script and an attribute, is an element, a template, and two ends of a line that JavaScript knows.
MARKUP = "</script><img src=x onerror=alert(1)>'\"{{7*7}}\u2028\u2029"
# What no page holds, unless it forgets to escape.
RAW = ("<img src=x", "49\u2028", "</script><img")

Ids = dict[str, Any]


def add_hostile_scene(connection: Connection) -> Ids:
    """Build it; the ids by the names that paths have for them."""
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
    alert = _add_alert(connection, pipeline)
    return {
        "pipeline_id": pipeline,
        "execution_id": run,
        "rule_id": rule,
        "result_id": connection.scalar(select(AnomalyDetectionResult.id)),
        "event_id": connection.scalar(select(AnomalyEvent.id)),
        "alert_id": alert,
        "task_id": _add_tasks(connection, pipeline, run),
        "failed_id": failed,
        "change": "set",
        "path": "watcher.css",
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


def _add_alert(connection: Connection, pipeline: int) -> int:
    missed = {"pipeline_id": pipeline, "expected_at": ago(hours=2), "evaluated_at": now(), "schedule": "0 * * * *"}
    connection.execute(insert(MissedRunLog).values(**missed, schedule_timezone="UTC", schedule_grace_minutes=10))
    values = {
        "dedupe_key": "freshness:hostile",
        "level": "WARNING",
        "title": MARKUP,
        "message": MARKUP,
        "details": [[MARKUP, MARKUP], ["Task ID", MARKUP]],
        "attempts": 1,
        "last_error": MARKUP,
    }
    return int(connection.execute(insert(Alert).values(values).returning(Alert.id)).scalar_one())


def _add_tasks(connection: Connection, pipeline: int, run: int) -> str:
    said = {"exc_type": MARKUP, "exc_message": MARKUP, "retry_count": 1, "max_retries": 3}
    about: dict[str, Any] = {"pipeline_id": pipeline, "pipeline_execution_id": run, "kwargs": {MARKUP: MARKUP}}
    add_task(connection, "PROGRESS", meta={"status": MARKUP, "current_step": MARKUP, "progress": 10**400}, **about)
    add_task(connection, "SUCCESS", name=MARKUP, meta={"result": {MARKUP: MARKUP}}, **about)
    add_waiting(connection, MARKUP)
    history = [{"at": MARKUP, "exc_type": MARKUP, "exc_message": MARKUP}]
    return add_task(connection, "FAILURE", meta=said, traceback=MARKUP, history=history, **about)
