"""Reading one incident whole: its timeline, causes and effects, the evidence, and who was told of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, text

from watcher_server.incidents import schemas
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.reading import IncidentFilter, ListedIncident, WantedState, list_incidents, read_incidents
from watcher_server.incidents.roots import read_perhaps
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.fields import ResponseBody
from watcher_server.kit.listing import Page

Model = TypeVar("Model", bound=ResponseBody)

# The newest of each are shown; one that flaps for a week has more.
MOST_EVENTS = 500
MOST_DELIVERIES = 200
MOST_EFFECTS = 200
MOST_LOGGED = 100


@dataclass(frozen=True, slots=True)
class IncidentDetail:
    """An incident, whole.

    The ``timeline`` is the newest 500 events, the oldest of them first. ``effects`` are the first 200 open incidents
    that it explains; ``perhaps`` are open ones that may be its cause. ``deliveries`` are the newest 200, newest first.
    """

    incident: ListedIncident
    timeline: Sequence[schemas.EventResponse]
    effects: Sequence[ListedIncident]
    perhaps: Sequence[ListedIncident]
    evidence: schemas.EvidenceResponse
    deliveries: Sequence[schemas.DeliveryResponse]

    def as_answer(self) -> dict[str, Any]:
        """The fields of ``IncidentDetailResponse``."""
        return {
            **asdict(self.incident),
            "timeline": self.timeline,
            "explains": self.effects,
            "perhaps": self.perhaps,
            "evidence": self.evidence,
            "deliveries": self.deliveries,
        }


def find_incident(connection: Connection, incident_id: int) -> ListedIncident:
    """The incident with that id.

    Raises:
        NotFoundError: there is none, and if there ever was, retention has deleted it.
    """
    found = read_incidents(connection, [incident_id])
    if not found:
        raise not_found(incident_id)
    return found[0]


def not_found(incident_id: int) -> NotFoundError:
    """The error that says that there is no such incident."""
    return NotFoundError(f"No incident has the id {incident_id}: it never existed, or is older than those kept.")


def read_incident(connection: Connection, incident_id: int) -> IncidentDetail:
    """That incident, whole; raises as :func:`find_incident` does."""
    incident = find_incident(connection, incident_id)
    explained = IncidentFilter(state=WantedState.LIVE, root_id=incident_id)
    return IncidentDetail(
        incident,
        read_timeline(connection, incident_id),
        list_incidents(connection, explained, Page(limit=MOST_EFFECTS)),
        read_incidents(connection, read_perhaps(connection, incident_id)),
        read_evidence(connection, incident),
        read_deliveries(connection, incident_id),
    )


def read_timeline(connection: Connection, incident_id: int) -> list[schemas.EventResponse]:
    """The newest 500 events of an incident, the oldest of them first."""
    parameters = {"incident_id": incident_id, "most": MOST_EVENTS}
    # By ix_incident_event_incident_id.
    statement = """
        SELECT id, at, change, actor, text FROM (
            SELECT * FROM incident_event WHERE incident_id = :incident_id ORDER BY id DESC LIMIT :most
        ) AS newest ORDER BY id
    """
    return [schemas.EventResponse.model_validate(row) for row in connection.execute(text(statement), parameters)]


# The alerts by ix_alert_subject_incident_id, their notifications by their unique key. An alert about several things of
# one incident has several subjects of it.
_DELIVERIES = """
SELECT notification.id, alert.id AS alert_id, notification.channel, notification.state, alert.level, alert.title,
    alert.change, notification.created_at, notification.next_try_at, notification.attempts, notification.perhaps_sent,
    notification.refused, notification.sent_at, notification.sent_to, notification.sent_in, notification.last_error
FROM (SELECT DISTINCT alert_id FROM alert_subject WHERE incident_id = :incident_id) AS about
JOIN alert ON alert.id = about.alert_id
JOIN notification ON notification.alert_id = alert.id
ORDER BY notification.id DESC LIMIT :most
"""


def read_deliveries(connection: Connection, incident_id: int) -> list[schemas.DeliveryResponse]:
    """The newest 200 deliveries of alerts about an incident, newest first."""
    parameters = {"incident_id": incident_id, "most": MOST_DELIVERIES}
    return [schemas.DeliveryResponse.model_validate(row) for row in connection.execute(text(_DELIVERIES), parameters)]


# By the primary key.
_RUN = """
SELECT id, start_date, end_date, completed_successfully, outcome, duration_seconds, total_rows,
    CASE WHEN NOT completed_successfully THEN watcher_run_error(execution_metadata, output) END AS error
FROM pipeline_execution WHERE id = :execution_id
"""

# By ix_anomaly_detection_result_pipeline_execution_id.
_METRICS = """
SELECT id AS result_id, metric_field, violation_value AS value, lower_bound, upper_bound, z_score,
    execution_count AS baseline_runs
FROM anomaly_detection_result WHERE pipeline_execution_id = :execution_id ORDER BY abs(z_score) DESC, id
"""

# By the unique key of the log, whose first column is the pipeline.
_STALE = """
SELECT evaluated_at, last_dml_timestamp, freshness_number, freshness_datepart
FROM freshness_pipeline_log
WHERE pipeline_id = :pipeline_id AND severity = 'failure'
    AND evaluated_at BETWEEN :since AND coalesce(:until, 'infinity'::timestamptz)
ORDER BY evaluated_at DESC, id DESC LIMIT :most
"""

# By the unique key of the log.
_OVERDUE = """
SELECT evaluated_at, pipeline_execution_id AS execution_id, execution_status, duration_seconds, seconds_threshold
FROM timeliness_pipeline_execution_log
WHERE pipeline_execution_id = :execution_id AND severity = 'failure'
"""

# By the unique key of the log.
_MISSED = """
SELECT evaluated_at, expected_at, schedule, schedule_timezone, schedule_grace_minutes
FROM missed_run_log
WHERE pipeline_id = :pipeline_id AND expected_at >= :since
    AND evaluated_at <= coalesce(:until, 'infinity'::timestamptz)
ORDER BY expected_at DESC LIMIT :most
"""


def read_evidence(connection: Connection, incident: ListedIncident) -> schemas.EvidenceResponse:
    """The run that shows it, its metrics that are out of range, and what the check of its kind logged."""
    parameters = {
        "execution_id": incident.execution_id,
        "pipeline_id": incident.pipeline_id,
        "since": incident.since,
        "until": incident.resolved_at,
        "most": MOST_LOGGED,
    }

    def read(statement: str, model: type[Model], *, wanted: bool = True) -> list[Model]:
        return [model.model_validate(row) for row in connection.execute(text(statement), parameters)] if wanted else []

    run = next(iter(read(_RUN, schemas.RunResponse)), None)
    return schemas.EvidenceResponse(
        run=run,
        metrics=read(_METRICS, schemas.OutOfRangeResponse, wanted=run is not None),
        stale=read(_STALE, schemas.StaleStateResponse, wanted=incident.kind == Kind.STALE),
        overdue=read(_OVERDUE, schemas.OverdueRunResponse, wanted=incident.kind == Kind.LATE),
        missed=read(_MISSED, schemas.MissedRunResponse, wanted=incident.kind == Kind.MISSED),
    )
