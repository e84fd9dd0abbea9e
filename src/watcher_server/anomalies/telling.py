"""Alerting anomalies: once for an event, however many runs it lasts."""

import logging
from collections.abc import Sequence

from sqlalchemy import Connection, update

from watcher_server.alerts.service import Level, NewAlert, raise_alert
from watcher_server.anomalies.models import AnomalyEvent
from watcher_server.anomalies.recording import Anomaly, Event, JudgedRun
from watcher_server.lineage.impact import count_downstream, downstream_text

logger = logging.getLogger(__name__)

_SECONDS_PER_HOUR = 3600


def tell_anomalies(
    connection: Connection, run: JudgedRun, events: Sequence[Event], *, alert_max_age_hours: int
) -> None:
    """Alert the execution's anomalies, all in one, if one of their events has not been alerted; and each new normal.

    What ended more than ``alert_max_age_hours`` ago is logged only.
    """
    message = (
        f"Anomalies Detected for Pipeline '{run.pipeline_name}' (ID: {run.pipeline_id}) - Execution ID {run.id} flagged"
    )
    if run.seconds_ago > alert_max_age_hours * _SECONDS_PER_HOUR:
        metrics = ", ".join(event.anomaly.metric for event in events)
        logger.info("%s for %s; it ended too long ago to alert", message, metrics)
        return
    if not all(event.alerted for event in events):
        alert = NewAlert(
            dedupe_key=f"anomaly:{run.id}",
            level=Level.WARNING,
            title="Anomaly Detection",
            message=message,
            details=_details(connection, run, events),
        )
        # An execution that was alerted before is not alerted again; the next one of the event is.
        if raise_alert(connection, alert):
            _remember_alert(connection, events)
    for event in events:
        if event.accepted:
            _tell_new_normal(connection, run, event)


def _details(connection: Connection, run: JudgedRun, events: Sequence[Event]) -> list[tuple[str, str]]:
    details = [(event.anomaly.metric, _describe(event.anomaly)) for event in events]
    downstream = downstream_text(count_downstream(connection, [run.pipeline_id]).get(run.pipeline_id, 0))
    return [*details, ("Affected", downstream)] if downstream else details


def _remember_alert(connection: Connection, events: Sequence[Event]) -> None:
    statement = update(AnomalyEvent).where(AnomalyEvent.id.in_([event.id for event in events]))
    connection.execute(statement.values(alerted=True))


def _tell_new_normal(connection: Connection, run: JudgedRun, event: Event) -> None:
    anomaly = event.anomaly
    raise_alert(
        connection,
        NewAlert(
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
        ),
    )


def _describe(anomaly: Anomaly) -> str:
    expected = f"{_number(anomaly.within.lower)} to {_number(anomaly.within.upper)}"
    return (
        f"{_number(anomaly.value)} (expected {expected}; z-score {anomaly.z_score:.1f},"
        f" from {anomaly.expectation.execution_count} executions)"
    )


def _number(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")
