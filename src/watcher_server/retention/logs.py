"""Deleting the logs of the checks, anomaly events, alerts, incidents, and daily figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Engine

from watcher_server.retention.batches import Batches
from watcher_server.retention.executions import Step


@dataclass(frozen=True)
class _Walk:
    """A statement that goes through a table by its primary key, a window at a time, and deletes its old rows.

    ``name`` is the name of the count in the answer, if that has it. The statement returns ``deleted`` and the
    parameters of the next window, null at the end.
    """

    name: str | None
    statement: str
    first: dict[str, Any]


# None of these tables has an index on the age of its rows: they are small, often written, and cleaned once a day. Each
# window is a range of the primary key.

# The row of a pipeline's present state stays, however old, because it keeps the check from alerting it again.
_FRESHNESS_LOGS = """
WITH batch AS MATERIALIZED (
    SELECT id, pipeline_id, last_dml_timestamp, evaluated_at FROM freshness_pipeline_log
    WHERE id > :id ORDER BY id LIMIT :batch_size
), deleted AS (
    DELETE FROM freshness_pipeline_log AS log
    USING batch JOIN pipeline_effective AS pipeline ON pipeline.id = batch.pipeline_id
    WHERE log.id = batch.id AND batch.evaluated_at < :cutoff
        AND batch.last_dml_timestamp IS DISTINCT FROM greatest(pipeline.last_write, pipeline.last_looked)
    RETURNING 1
)
SELECT (SELECT count(*) FROM deleted) AS deleted, max(id) AS id FROM batch
"""

# The missed run that the pipeline's state refers to stays.
_MISSED_RUNS = """
WITH batch AS MATERIALIZED (
    SELECT id, pipeline_id, expected_at, evaluated_at FROM missed_run_log WHERE id > :id ORDER BY id LIMIT :batch_size
), deleted AS (
    DELETE FROM missed_run_log AS log USING batch JOIN pipeline ON pipeline.id = batch.pipeline_id
    WHERE log.id = batch.id AND batch.evaluated_at < :cutoff
        AND batch.expected_at IS DISTINCT FROM pipeline.last_missed_run
    RETURNING 1
)
SELECT (SELECT count(*) FROM deleted) AS deleted, max(id) AS id FROM batch
"""

# Results are found by ix_anomaly_detection_result_event_id. An event that is being extended at this moment is skipped.
_ANOMALY_EVENTS = """
WITH batch AS MATERIALIZED (
    SELECT id FROM anomaly_event WHERE id > :id ORDER BY id LIMIT :batch_size
), doomed AS MATERIALIZED (
    SELECT event.id FROM anomaly_event AS event JOIN batch ON batch.id = event.id
    WHERE event.last_at < :cutoff
        AND NOT EXISTS (SELECT FROM anomaly_detection_result AS result WHERE result.event_id = event.id)
    FOR UPDATE OF event SKIP LOCKED
), deleted AS (
    DELETE FROM anomaly_event AS event USING doomed WHERE event.id = doomed.id RETURNING 1
)
SELECT (SELECT count(*) FROM deleted) AS deleted, max(id) AS id FROM batch
"""

# An alert that never arrived stays, with its reason. Notifications by their unique key.
_ALERTS = """
WITH batch AS MATERIALIZED (
    SELECT id, created_at FROM alert WHERE id > :id ORDER BY id LIMIT :batch_size
), deleted AS (
    DELETE FROM alert USING batch
    WHERE alert.id = batch.id AND batch.created_at < :cutoff AND NOT EXISTS (
        SELECT FROM notification WHERE notification.alert_id = batch.id AND state NOT IN ('sent', 'merged')
    )
    RETURNING 1
)
SELECT (SELECT count(*) FROM deleted) AS deleted, max(id) AS id FROM batch
"""

# With its timeline. What is not resolved stays, however old, and so does what was resolved by hand while it held: it
# keeps the check from opening another.
_INCIDENTS = """
WITH batch AS MATERIALIZED (
    SELECT id FROM incident WHERE id > :id ORDER BY id LIMIT :batch_size
), doomed AS MATERIALIZED (
    SELECT incident.id FROM incident JOIN batch ON batch.id = incident.id
    WHERE incident.resolved_at < :cutoff AND NOT incident.quiet AND incident.tell_resolved_at IS NULL
    FOR UPDATE OF incident SKIP LOCKED
), deleted AS (
    DELETE FROM incident USING doomed WHERE incident.id = doomed.id RETURNING 1
)
SELECT (SELECT count(*) FROM deleted) AS deleted, max(id) AS id FROM batch
"""

_DAILY_METRICS = """
WITH batch AS MATERIALIZED (
    SELECT date_recorded, pipeline_id FROM daily_pipeline_metric
    WHERE (date_recorded, pipeline_id) > (:date_recorded, :pipeline_id)
        AND date_recorded < (CAST(:cutoff AS timestamptz) AT TIME ZONE 'UTC')::date
    ORDER BY date_recorded, pipeline_id LIMIT :batch_size
    FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM daily_pipeline_metric AS metric USING batch
    WHERE metric.date_recorded = batch.date_recorded AND metric.pipeline_id = batch.pipeline_id
    RETURNING 1
), latest AS (
    SELECT date_recorded, pipeline_id FROM batch ORDER BY date_recorded DESC, pipeline_id DESC LIMIT 1
)
SELECT (SELECT count(*) FROM deleted) AS deleted, latest.date_recorded, latest.pipeline_id
FROM (SELECT) AS always LEFT JOIN latest ON true
"""

_METRIC_CHANGES = _DAILY_METRICS.replace("daily_pipeline_metric", "daily_pipeline_metric_change")

# By ix_dbt_artifact_applied_at.
_DBT_ARTIFACTS = """
WITH deleted AS (
    DELETE FROM dbt_artifact WHERE (invocation_id, kind) IN (
        SELECT invocation_id, kind FROM dbt_artifact WHERE applied_at < :cutoff ORDER BY applied_at LIMIT :batch_size
    )
    RETURNING 1
)
SELECT count(*) AS deleted, CASE WHEN count(*) > 0 THEN :id END AS id FROM deleted
"""

# By ix_openlineage_run_last_event_at: what events say of runs that have no execution, such as those that are a part of
# another. What an execution has goes with that.
_OPENLINEAGE_RUNS = """
WITH deleted AS (
    DELETE FROM openlineage_run WHERE key IN (
        SELECT key FROM openlineage_run WHERE last_event_at < :cutoff AND execution_id IS NULL
        ORDER BY last_event_at LIMIT :batch_size FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
)
SELECT count(*) AS deleted, CASE WHEN count(*) > 0 THEN :id END AS id FROM deleted
"""

# Jobs whose runs are parts of others have no pipeline, and some tools name one for each statement.
_OPENLINEAGE_JOBS = """
WITH batch AS MATERIALIZED (
    SELECT id, pipeline_id, last_event_at FROM openlineage_job WHERE id > :id ORDER BY id LIMIT :batch_size
), deleted AS (
    DELETE FROM openlineage_job AS job USING batch
    WHERE job.id = batch.id AND batch.pipeline_id IS NULL AND batch.last_event_at < :cutoff
        AND NOT EXISTS (SELECT FROM openlineage_run AS run WHERE run.job_id = batch.id)
    RETURNING 1
)
SELECT (SELECT count(*) FROM deleted) AS deleted, max(id) AS id FROM batch
"""

_FROM_FIRST_ID = {"id": 0}
_FROM_FIRST_DAY = {"date_recorded": date.min, "pipeline_id": 0}

_WALKS = (
    _Walk("total_freshness_pipeline_logs_deleted", _FRESHNESS_LOGS, _FROM_FIRST_ID),
    _Walk("total_missed_run_logs_deleted", _MISSED_RUNS, _FROM_FIRST_ID),
    _Walk("total_anomaly_events_deleted", _ANOMALY_EVENTS, _FROM_FIRST_ID),
    _Walk("total_alerts_deleted", _ALERTS, _FROM_FIRST_ID),
    _Walk("total_incidents_deleted", _INCIDENTS, _FROM_FIRST_ID),
    _Walk("total_daily_pipeline_metrics_deleted", _DAILY_METRICS, _FROM_FIRST_DAY),
    _Walk("total_daily_pipeline_metric_changes_deleted", _METRIC_CHANGES, _FROM_FIRST_DAY),
    _Walk("total_dbt_artifacts_deleted", _DBT_ARTIFACTS, _FROM_FIRST_ID),
    _Walk(None, _OPENLINEAGE_RUNS, _FROM_FIRST_ID),
    _Walk(None, _OPENLINEAGE_JOBS, _FROM_FIRST_ID),
)


def delete_logs(engine: Engine, cutoff: datetime, batch_size: int) -> Iterator[Step]:
    """Delete rows older than the cutoff, batch by batch. Run it after the executions: events go after their results."""
    for number, walk in enumerate(_WALKS):
        batches = Batches(engine, walk.statement, batch_size)
        position = walk.first
        while None not in position.values():
            row = batches.run({**position, "cutoff": cutoff})._asdict()
            deleted = row.pop("deleted")
            position = row
            yield Step({walk.name: deleted} if walk.name else {}, number / len(_WALKS))
