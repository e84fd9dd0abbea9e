"""A shop with pipelines in every state, beside the demo's flights, so that every page has data."""

import math
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
from sqlalchemy import Connection, Engine, exists, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from tests.support.live import LiveServer, wait_until
from tests.support.notifications import add_alert
from tests.support.rows import add_history, ago, change_pipeline, now
from tests.support.tasks import add_task, add_waiting
from tests.ui.support.shop import Shop
from watcher_server.addresses.models import Address
from watcher_server.alerts.models import Alert
from watcher_server.anomalies.models import AnomalyDetectionResult
from watcher_server.executions.models import PipelineExecution
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.models import Incident
from watcher_server.pipelines.models import Pipeline
from watcher_server.tasking.models import OutboxMessage, QueueDepthSample, TaskRun

HOSTILE_NAME = "<img src=x onerror=alert(1)>"
LONG_NAME = ("a_pipeline_whose_name_is_as_long_as_a_name_may_be_" * 3)[:150]
ERROR = {"error": "connection to crm.example:5432 timed out after 30 s"}

_TRACEBACK = """Traceback (most recent call last):
  File "watcher_server/anomalies/tasks.py", line 31, in detect_anomalies_task
    flagged = detect_anomalies(connection, pipeline_id, pipeline_execution_id)
sqlalchemy.exc.DatabaseError: Connection timeout
"""

Ids = dict[str, int | str]


def add_scene(server: LiveServer, engine: Engine, *, odd_names: bool = True) -> Ids:
    """Build the scene; returns the ids in it by the names that ``Site.path`` takes."""
    parts = [_add_running, _add_failed, _add_late, _add_stale, _add_missed, _add_tree]
    if odd_names:
        parts.append(_add_odd_names)
    ids: Ids = {}
    with httpx.Client(base_url=server.url, timeout=30) as client:
        shop = Shop(client)
        for add in parts:
            with engine.begin() as connection:
                ids |= add(shop, connection)
        with engine.begin() as connection:
            ids |= _add_failed_task(connection, ids)
            _add_alerts(connection)
            _add_queue_depths(connection)
        _check_everything(shop, engine)
    with engine.connect() as connection:
        return ids | _find_flights(connection) | _find_incident(connection, ids["failed"])


def _add_running(shop: Shop, connection: Connection) -> Ids:
    pipeline = shop.pipeline("orders", tags=("sales", "hourly"), timeliness_number=30, timeliness_datepart="minute")
    _add_nights(connection, pipeline, rows=48_000)
    shop.lineage(pipeline, ["shop.public.orders"], ["warehouse.staging.orders"])
    return {"running": pipeline, "running_execution": shop.begin(pipeline, ago(minutes=4), next_watermark="2013-02-10")}


def _add_failed(shop: Shop, connection: Connection) -> Ids:
    pipeline = shop.pipeline("crm contacts", tags=("sales",))
    _add_nights(connection, pipeline, rows=9_500)
    shop.lineage(pipeline, ["crm.public.contacts"], ["warehouse.staging.contacts"])
    execution = shop.run(
        pipeline, ago(minutes=122), ago(minutes=119), success=False, inserts=0, execution_metadata=ERROR
    )
    return {"failed": pipeline, "failed_execution": execution}


def _add_late(shop: Shop, connection: Connection) -> Ids:
    pipeline = shop.pipeline("payments ledger", tags=("finance",), timeliness_number=1, timeliness_datepart="hour")
    _add_nights(connection, pipeline, rows=21_000)
    shop.lineage(pipeline, ["shop.public.payments"], ["warehouse.staging.payments"])
    # Its loads take five minutes, so that one of an hour would be taken for lost.
    change_pipeline(connection, pipeline, lost_after_hours=24)
    return {"late": pipeline, "late_execution": shop.begin(pipeline, ago(hours=3))}


def _add_stale(shop: Shop, _connection: Connection) -> Ids:
    pipeline = shop.pipeline("exchange rates", tags=("finance",), freshness_number=1, freshness_datepart="day")
    shop.lineage(pipeline, ["ecb.public.rates"], ["warehouse.staging.rates"])
    for days in (5, 4, 3):
        shop.run(pipeline, ago(days=days, minutes=2), ago(days=days), inserts=31, total_rows=31)
    return {"stale": pipeline}


def _add_missed(shop: Shop, connection: Connection) -> Ids:
    pipeline = shop.pipeline("inventory snapshot", tags=("hourly",), schedule="0 * * * *", schedule_grace_minutes=10)
    _add_nights(connection, pipeline, rows=3_200)
    change_pipeline(connection, pipeline, expected_next_run=_full_hour() - timedelta(hours=2))
    return {"missed": pipeline}


def _add_odd_names(shop: Shop, connection: Connection) -> Ids:
    hostile = shop.pipeline(HOSTILE_NAME, kind="<b>odd</b> names", tags=(HOSTILE_NAME,))
    shop.lineage(hostile, [HOSTILE_NAME], ["warehouse.staging.orders"])
    failure = {"error": HOSTILE_NAME}
    execution = shop.run(hostile, ago(minutes=50), ago(minutes=40), success=False, execution_metadata=failure)
    message = f"Anomalies Detected for Pipeline '{HOSTILE_NAME}' (ID: {hostile}) - Execution ID {execution} flagged"
    about = {"dedupe_key": "scene odd", "level": "WARNING", "title": "Anomaly Detection", "message": message}
    connection.execute(insert(Alert).values(about | {"created_at": ago(minutes=39), "details": [[HOSTILE_NAME, "9"]]}))
    long = shop.pipeline(LONG_NAME, kind="<b>odd</b> names")
    shop.run(long, ago(minutes=95), ago(minutes=70), inserts=12, updates=3, total_rows=15)
    return {"hostile": hostile, "hostile_execution": execution, "long_name": long}


def _add_tree(shop: Shop, _connection: Connection) -> Ids:
    """A run of two hours with two stages, of which one has a failed step."""
    began = ago(hours=6)

    def at(minutes: int) -> datetime:
        return began + timedelta(minutes=minutes)

    def step(name: str, start: int, end: int, parent: int, *, success: bool = True) -> int:
        pipeline = shop.pipeline(name, kind="warehouse step")
        return shop.run(pipeline, at(start), at(end), parent, success=success, inserts=100 * (end - start))

    build = shop.pipeline("warehouse build", kind="warehouse orchestration", tags=("warehouse",))
    root = shop.begin(build, began)
    staging = step("stage tables", 1, 55, root)
    for number, table in enumerate(("customers", "products", "prices")):
        step(f"stage {table}", 2 + 5 * number, 20 + 15 * number, staging)
    marts = step("build marts", 56, 118, root)
    step("mart revenue", 57, 90, marts)
    step("mart returns", 60, 71, marts, success=False)
    shop.end(root, at(120), inserts=1_700)
    staged = [f"warehouse.staging.{table}" for table in ("orders", "contacts", "payments", "rates")]
    shop.lineage(build, staged, ["warehouse.marts.revenue", "warehouse.marts.returns"])
    return {"tree": build, "tree_execution": root}


def _add_nights(connection: Connection, pipeline_id: int, rows: int) -> None:
    """Add three weeks of daily runs whose numbers of rows vary a little."""
    values = [rows * (1 + math.sin(night) / 20) // 1 for night in range(21)]
    add_history(connection, pipeline_id, values, metric="inserts", duration_seconds=300, throughput=rows / 300)


def _add_failed_task(connection: Connection, ids: Ids) -> Ids:
    about: dict[str, Any] = {"pipeline_id": ids["failed"], "pipeline_execution_id": ids["failed_execution"]}
    tries = [
        {"at": ago(minutes=minutes).isoformat(), "retries": number, "exc_type": "DatabaseError",
         "exc_message": "Connection timeout"}
        for number, minutes in enumerate((118, 117, 115))
    ]  # fmt: skip
    moments: dict[str, Any] = {
        "created_at": ago(minutes=119),
        "started_at": ago(minutes=113),
        "finished_at": ago(minutes=112),
    }
    failed = add_task(
        connection, "FAILURE", kwargs=about, retries=3, history=tries, traceback=_TRACEBACK, **about, **moments
    )
    return {"failed_task": failed}


def _add_alerts(connection: Connection) -> None:
    """Add one alert that was delivered to Slack, and one that was not."""
    title = "Anomaly Detection"
    message = "Anomalies Detected for Pipeline 'orders' (ID: {}) - Execution ID {} flagged"
    arrived = {
        "level": "WARNING", "title": title, "message": message.format(1, 1),
        "details": [["inserts", "9,100 (expected 45,600 to 50,400)"]], "created_at": ago(hours=5),
        "state": "sent", "sent_at": ago(hours=5), "sent_to": "slack", "attempts": 1,
    }  # fmt: skip
    lost = {
        "level": "ERROR", "title": "Freshness Check - Pipeline DML",
        "message": "Freshness Check: 1 NEW pipeline(s) overdue", "details": [["exchange rates", "2 days old"]],
        "created_at": ago(hours=4), "attempts": 4, "last_error": "Slack answered 503",
        # The keeper of the site leaves it alone.
        "next_try_at": ago(hours=-4),
    }  # fmt: skip
    for key, values in (("scene arrived", arrived), ("scene lost", lost)):
        add_alert(connection, key, **values)


def _add_queue_depths(connection: Connection) -> None:
    """Add samples of three hours, one a minute, in which a queue rose above the critical level and emptied again."""
    first = now().replace(second=0, microsecond=0) - timedelta(hours=3)
    samples = []
    for minute in range(180):
        depth = max(0, round(130 * math.exp(-(((minute - 90) / 25) ** 2)) - 2))
        about = {"sampled_at": first + timedelta(minutes=minute), "scheduled": 3, "unacknowledged": min(depth, 4)}
        waits = {"ready": depth, "outbox_pending": depth // 10, "oldest_seconds": depth / 15}
        samples += [
            {**about, **waits, "queue": "celery"},
            {**about, "queue": "scheduled", "ready": 0, "outbox_pending": 0, "oldest_seconds": 0},
        ]
    connection.execute(upsert(QueueDepthSample).values(samples).on_conflict_do_nothing())


def _check_everything(shop: Shop, engine: Engine) -> None:
    """Run the checks over the scene, and wait until all tasks have ended."""
    shop.post("/freshness")
    shop.post("/timeliness", {"lookback_minutes": 60})
    with engine.begin() as connection:
        add_waiting(connection, "schedule_check_task", queue="scheduled")
    wait_until(partial(_is_quiet, engine), "the end of the analysis", seconds=90)


def _is_quiet(engine: Engine) -> bool:
    """Whether no task waits or runs. A task ends in the same transaction that queues its followers."""
    waiting = exists().select_from(OutboxMessage)
    under_way = exists().where(TaskRun.state.in_(("PENDING", "PROGRESS", "RETRY")))
    with engine.connect() as connection:
        return not connection.scalar(select(waiting | under_way))


def _find_flights(connection: Connection) -> Ids:
    """The address of the flights' table, and the load with the strongest anomaly in the blizzard."""
    table = select(Address.id).where(Address.name.endswith(".demo_flights.flights"))
    worst = (
        select(PipelineExecution.pipeline_id, PipelineExecution.id)
        .join(AnomalyDetectionResult, AnomalyDetectionResult.pipeline_execution_id == PipelineExecution.id)
        .join(Pipeline, Pipeline.id == PipelineExecution.pipeline_id)
        .order_by(AnomalyDetectionResult.z_score, Pipeline.name)
        .limit(1)
    )
    pipeline, execution = connection.execute(worst).one()
    return {"flights": connection.execute(table).scalar_one(), "anomalous": pipeline, "anomalous_execution": execution}


def _find_incident(connection: Connection, pipeline_id: int | str) -> Ids:
    """The incident of a pipeline that fails."""
    statement = select(Incident.id).where(Incident.pipeline_id == pipeline_id, Incident.kind == Kind.FAILING)
    return {"incident": connection.execute(statement).scalar_one()}


def _full_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
