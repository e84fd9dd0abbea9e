"""Backfills that failed: people are told of each, and the pipeline is not failing for it."""

from sqlalchemy import Connection, text

from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.pipelines.findings import RUN_ERROR
from watcher_server.telemetry.redaction import redact

# By the primary key.
_FAILED = f"""
SELECT pipeline.id, coalesce(pipeline.display_name, pipeline.name) AS name, pipeline.runbook_url, ({RUN_ERROR}) AS error
FROM (
    SELECT id AS latest_id, pipeline_id FROM pipeline_execution
    WHERE id = :execution_id AND backfill AND NOT completed_successfully AND outcome IS NULL
        AND end_date > now() - make_interval(hours => :max_age_hours)
) AS failed JOIN pipeline_effective AS pipeline ON pipeline.id = failed.pipeline_id AND pipeline.active
"""  # noqa: S608 - a constant


def tell_failed_backfill(connection: Connection, execution_id: int, *, alert_max_age_hours: int) -> bool:
    """Tell people that this run, which loads the past, failed; whether it did. Each is told once.

    One that ended more than ``alert_max_age_hours`` ago is not told: it was reported late, or replayed.
    """
    parameters = {"execution_id": execution_id, "max_age_hours": alert_max_age_hours}
    row = connection.execute(text(_FAILED), parameters).one_or_none()
    if row is None:
        return False
    details = [("Error", redact(row.error))] if row.error else []
    if row.runbook_url:
        details.append(("Runbook", row.runbook_url))
    alert = NewAlert(
        dedupe_key=f"backfill:{execution_id}",
        level=Level.WARNING,
        title="Backfill Failed",
        message=f"A backfill of pipeline '{row.name}' (ID: {row.id}) failed - Execution ID {execution_id}",
        details=details,
        subjects=[Subject(pipeline_id=row.id, execution_id=execution_id)],
    )
    return raise_alert(connection, alert) is not None
