"""When too much waits in a queue: an incident, and one alert per change of level."""

from datetime import datetime

from sqlalchemy import Connection, text

from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.incidents.holding import hold_back
from watcher_server.incidents.kinds import TEXTS, Kind
from watcher_server.incidents.opening import Change, Finding, lock_incidents, open_incidents
from watcher_server.incidents.resolving import resolve
from watcher_server.incidents.telling import mark_told
from watcher_server.kit.durations import duration_text
from watcher_server.settings import Settings
from watcher_server.tasking.queues.depths import QueueState, measure_queues
from watcher_server.tasking.queues.levels import LevelChange, find_level_changes, store_level


def check_queues(connection: Connection, settings: Settings) -> int:
    """Measure the queues and alert each whose level changed; how many alerts. They are sent once this commits.

    A broker that does not answer takes a few seconds at most; the outbox is measured all the same.
    """
    return raise_queue_alerts(connection, measure_queues(connection, settings), settings)


def raise_queue_alerts(connection: Connection, state: QueueState, settings: Settings) -> int:
    """Alert each change of level that no other check has alerted meanwhile; how many were."""
    changes = find_level_changes(connection, state, settings)
    return sum(raise_queue_alert(connection, change, state) for change in changes)


def raise_queue_alert(connection: Connection, change: LevelChange, state: QueueState) -> bool:
    """Open, worsen or resolve the incident of a queue; False when another check was faster."""
    changed_at = store_level(connection, change)
    if changed_at is None:
        return False
    level = Level.RESOLVED if change.now is None else Level(change.now)
    message = f"Queue has {state.queues[change.queue].pending} pending tasks"
    lock_incidents(connection)
    incident_id, what = _settle(connection, change, changed_at, message)
    if what == Change.SILENCED or (incident_id and what != "resolved" and hold_back(connection, [incident_id])):
        return True
    alert = NewAlert(
        dedupe_key=f"queue:{change.queue}:{level}:{changed_at.isoformat()}",
        level=level,
        title=TEXTS[Kind.QUEUE].title,
        message=message,
        details=_details(change.queue, state),
        kind=Kind.QUEUE,
        change=what,
        subjects=[Subject(incident_id=incident_id)],
    )
    if raise_alert(connection, alert) is None:
        return False
    mark_told(connection, [incident_id] if incident_id else [], what)
    return True


def _settle(connection: Connection, change: LevelChange, changed_at: datetime, detail: str) -> tuple[int | None, str]:
    """The incident and what happened to it. Every change of level is told, so this asks nobody who may speak."""
    if change.now is None:
        # Or resolved by hand, and quiet since; it is over now too.
        statement = """
            SELECT id, quiet OR held_by IS NOT NULL AND told_at IS NULL AS is_silent
            FROM incident WHERE kind = 'queue' AND subject = :queue AND (state <> 'resolved' OR quiet)
            ORDER BY id DESC
        """
        rows = connection.execute(text(statement), {"queue": change.queue}).all()
        resolve(connection, [row.id for row in rows])
        if rows and rows[0].is_silent:
            # People were told when somebody resolved it, or a window kept them from being told of it.
            return rows[0].id, Change.SILENCED
        return rows[0].id if rows else None, "resolved"
    finding = Finding(changed_at, detail, subject=change.queue, level=Level(change.now))
    (opening,) = open_incidents(connection, Kind.QUEUE, [finding])
    return opening.incident_id, "better" if opening.change is Change.COUNTED else opening.change


def _details(queue: str, state: QueueState) -> list[tuple[str, str]]:
    """First the four details that every queue alert has, in their documented order."""
    load = state.queues[queue]
    details = [
        ("Messages in queue", str(load.pending)),
        ("Scheduled tasks", str(load.scheduled)),
        ("Workers active", str(state.workers.get(queue, 0))),
        ("Queue", queue),
        ("In per minute", str(load.in_per_minute)),
        ("Out per minute", str(load.out_per_minute)),
    ]
    if load.oldest_seconds is not None:
        details.append(("Oldest waits for", duration_text(load.oldest_seconds)))
    if load.pending and load.seconds_to_drain is not None:
        details.append(("Time to drain", duration_text(load.seconds_to_drain)))
    if state.broker_error is not None:
        details.append(("Broker", state.broker_error))
    return details
