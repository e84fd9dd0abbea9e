"""Pipelines whose newest runs failed."""

from datetime import UTC
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.incidents.failures import describe_failure
from watcher_server.incidents.impact import describe_impact
from watcher_server.incidents.kinds import TEXTS, Kind
from watcher_server.incidents.opening import Finding, Opening, lock_incidents, open_incidents
from watcher_server.incidents.telling import choose_speakers, mark_told
from watcher_server.pipelines.findings import MOST_FAILURES, RUN_ERROR
from watcher_server.telemetry.redaction import redact

# The runs backwards by ix_pipeline_execution_pipeline_id_start_date, without those of which nobody knows how they
# ended. The error is what the run says of itself, or
# the last lines that it printed, in which secrets may stand.
_FAILING = f"""
SELECT pipeline.id, coalesce(pipeline.display_name, pipeline.name) AS name,
    pipeline.owner, pipeline.runbook_url, pipeline.fail_after,
    failed.runs, failed.since, failed.latest_id, failed.latest_end, ({RUN_ERROR}) AS error
FROM pipeline_effective AS pipeline
CROSS JOIN LATERAL (
    SELECT count(*) AS runs, min(end_date) AS since, max(end_date) AS latest_end,
        (array_agg(id ORDER BY start_date DESC, id DESC))[1] AS latest_id
    FROM (
        SELECT id, start_date, end_date, bool_and(NOT completed_successfully)
            OVER (ORDER BY start_date DESC, id DESC ROWS UNBOUNDED PRECEDING) AS in_a_row
        FROM (
            SELECT id, start_date, end_date, completed_successfully FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = pipeline.id AND end_date IS NOT NULL AND outcome IS NULL AND NOT backfill
            ORDER BY start_date DESC, id DESC LIMIT greatest(:most, pipeline.fail_after)
        ) AS newest
    ) AS run
    WHERE in_a_row
) AS failed
WHERE pipeline.id = :pipeline_id AND pipeline.active AND failed.runs >= pipeline.fail_after
    AND failed.latest_end > now() - make_interval(hours => :max_age_hours)
"""  # noqa: S608 - a constant

# What the newest run called and what failed too: what is furthest below comes first. By the primary key of the closure,
# which a task may not have written yet, and by ix_pipeline_execution_parent_id. What was judged already is left out.
_FAILED_BELOW = """
SELECT run.pipeline_id
FROM (
    SELECT child_execution_id AS id, depth FROM pipeline_execution_closure
    WHERE parent_execution_id = :execution_id AND depth > 0
    UNION SELECT id, 1 FROM pipeline_execution WHERE parent_id = :execution_id
) AS tree
JOIN pipeline_execution AS run USING (id)
WHERE run.pipeline_id <> :pipeline_id
    AND run.end_date IS NOT NULL AND NOT run.completed_successfully AND run.outcome IS NULL AND NOT run.backfill
    AND NOT EXISTS (
        SELECT FROM incident
        WHERE incident.pipeline_id = run.pipeline_id AND kind = 'failing' AND incident.execution_id = run.id
    )
GROUP BY run.pipeline_id ORDER BY max(depth) DESC, min(run.end_date), run.pipeline_id LIMIT 100
"""


def judge_failure(connection: Connection, pipeline_id: int, *, alert_max_age_hours: int) -> Opening | None:
    """Open the incident of a pipeline whose newest runs failed, and tell people; None when it does not fail.

    What its newest run called and what failed too is judged first: that is why it failed, whichever of the two is asked
    for first. A run that ended more than ``alert_max_age_hours`` ago opens nothing: it was reported late, or replayed.
    """
    # Before the runs are read: of two judgements at once the later one knows more, and has the last word.
    lock_incidents(connection)
    row = _find(connection, pipeline_id, alert_max_age_hours)
    if row is None:
        return None
    below = {"execution_id": row.latest_id, "pipeline_id": pipeline_id}
    for below_id in connection.scalars(text(_FAILED_BELOW), below).all():
        found = _find(connection, below_id, alert_max_age_hours)
        if found is not None:
            _open(connection, found)
    return _open(connection, row)


def _find(connection: Connection, pipeline_id: int, max_age_hours: int) -> Row[Any] | None:
    parameters = {"pipeline_id": pipeline_id, "most": MOST_FAILURES, "max_age_hours": max_age_hours}
    return connection.execute(text(_FAILING), parameters).one_or_none()


def _open(connection: Connection, row: Row[Any]) -> Opening:
    detail = f"{_newest(row)}: {redact(row.error)}" if row.error else _newest(row)
    finding = Finding(row.since, detail, pipeline_id=row.id, count=row.runs, execution_id=row.latest_id)
    openings = open_incidents(connection, Kind.FAILING, [finding])
    for opening in choose_speakers(connection, openings):
        _tell(connection, opening, row)
    return openings[0]


def _newest(row: Row[Any]) -> str:
    return f"Execution ID {row.latest_id}" + (f", {row.runs:,} runs in a row" if row.runs > 1 else "")


def _tell(connection: Connection, opening: Opening, row: Row[Any]) -> None:
    since = f"{row.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    details = [("Since", f"{since}, owner {row.owner}" if row.owner else since)]
    if row.error:
        details.append(("Error", redact(row.error)))
    failure = describe_failure(connection, row)
    details += failure.details
    about = Subject(incident_id=opening.incident_id, pipeline_id=row.id, execution_id=row.latest_id)
    details += describe_impact(connection, about)
    if row.runbook_url:
        details.append(("Runbook", row.runbook_url))
    alert = NewAlert(
        dedupe_key=f"failing:{opening.change}:{opening.incident_id}:{row.latest_id}",
        level=opening.level,
        title=TEXTS[Kind.FAILING].title,
        message=f"{failure.subject} - {_newest(row)}",
        details=details,
        kind=Kind.FAILING,
        change=opening.change,
        subjects=[about],
    )
    if raise_alert(connection, alert) is not None:
        mark_told(connection, [opening.incident_id], opening.change)
