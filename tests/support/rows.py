"""Builders that insert rows directly, for histories that would take too long over HTTP."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from watcher_server.alerts.models import Alert
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule
from watcher_server.executions.models import PipelineExecution
from watcher_server.pipelines.models import Pipeline, PipelineType


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def ago(**duration: float) -> datetime:
    """A moment in the past: ``ago(hours=2)``."""
    return now() - timedelta(**duration)


def _insert(connection: Connection, model: type[Any], values: dict[str, Any]) -> int:
    table: Table = model.__table__
    return int(connection.scalar(insert(table).values(values).returning(table.c.id)) or 0)


def add_type(connection: Connection, name: str = "extraction", **fields: Any) -> int:
    """A pipeline type, created or changed; its id."""
    statement = upsert(PipelineType).values(name=name, **fields)
    statement = statement.on_conflict_do_update(index_elements=["name"], set_={"name": name, **fields})
    return int(connection.scalar(statement.returning(PipelineType.id)) or 0)


def add_pipeline(
    connection: Connection, name: str = "orders", *, type_fields: dict[str, Any] | None = None, **fields: Any
) -> int:
    """A pipeline; its id."""
    type_id = add_type(connection, **(type_fields or {}))
    return _insert(connection, Pipeline, {"name": name, "pipeline_type_id": type_id, **fields})


def change_pipeline(connection: Connection, pipeline_id: int, **fields: Any) -> None:
    """Write columns of a pipeline."""
    connection.execute(update(Pipeline).where(Pipeline.id == pipeline_id).values(fields))


def add_rule(connection: Connection, pipeline_id: int, metric: str = "total_rows", **fields: Any) -> int:
    """A rule that needs five executions, unless the fields say otherwise; its id."""
    values = {"pipeline_id": pipeline_id, "metric_field": metric, "minimum_executions": 5, **fields}
    return _insert(connection, AnomalyDetectionRule, values)


def add_run(connection: Connection, pipeline_id: int, **fields: Any) -> int:
    """An execution; its id. Ended successfully an hour ago after five minutes, unless the fields say otherwise."""
    ended = fields.pop("end_date", ago(hours=1))
    started = fields.pop("start_date", None) or (ended or ago(hours=1)) - timedelta(minutes=5)
    values = {
        "pipeline_id": pipeline_id,
        "start_date": started,
        "end_date": ended,
        "date_recorded": started.date(),
        "hour_recorded": 2,
        "completed_successfully": None if ended is None else True,
        **fields,
    }
    return _insert(connection, PipelineExecution, values)


def add_history(connection: Connection, pipeline_id: int, values: Iterable[float], **fields: Any) -> list[int]:
    """Successful runs with these total rows, one a day, the last of them a day before ``before`` (default now)."""
    before = fields.pop("before", now())
    metric = fields.pop("metric", "total_rows")
    return [
        add_run(connection, pipeline_id, end_date=before - timedelta(days=days), **{metric: value, **fields})
        for days, value in enumerate(reversed(list(values)), start=1)
    ]


def add_anomaly(connection: Connection, pipeline_id: int, execution_id: int, metric: str = "total_rows") -> int:
    """A flag of the metric of that run by a rule of its own, and the numbers behind it; the id of these."""
    numbers = ("violation_value", "z_score", "historical_mean", "historical_std", "lower_bound", "upper_bound")
    flagged = PipelineExecution.anomaly_flags.concat({metric: True})
    connection.execute(
        update(PipelineExecution).where(PipelineExecution.id == execution_id).values(anomaly_flags=flagged)
    )
    values: dict[str, Any] = {
        "rule_id": add_rule(connection, pipeline_id, metric),
        "pipeline_execution_id": execution_id,
        "metric_field": metric,
        "z_threshold": 3.0,
        "execution_count": 30,
        "context": {},
        **dict.fromkeys(numbers, 1.0),
    }
    return _insert(connection, AnomalyDetectionResult, values)


def flags(connection: Connection, execution_id: int) -> dict[str, bool]:
    """The anomaly flags of an execution."""
    found = connection.scalar(select(PipelineExecution.anomaly_flags).where(PipelineExecution.id == execution_id))
    assert found is not None
    return found


def rows(connection: Connection, model: type[Any]) -> list[dict[str, Any]]:
    """All rows of a table, by id."""
    table: Table = model.__table__
    return [dict(row) for row in connection.execute(select(table).order_by(table.c.id)).mappings()]


def alerts(connection: Connection) -> list[dict[str, Any]]:
    """All alerts, by id; their details as one text under ``text``."""
    return [{**row, "text": json.dumps(row["details"], ensure_ascii=False)} for row in rows(connection, Alert)]
