"""What happens to open incidents by itself, once a minute: they end, are explained, speak up, and are told to be over.

Each step is one statement over the few incidents that it concerns.
"""

from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, text

from watcher_server.alerts.routing.repeats import Unattended, find_due, may_be_due
from watcher_server.incidents.holding import hold_back
from watcher_server.incidents.opening import lock_incidents
from watcher_server.incidents.resolving import resolve, resolve_what_is_over
from watcher_server.incidents.telling import MAY_SPEAK, explain, tell_as
from watcher_server.incidents.window_ends import tell_after_window
from watcher_server.settings import Settings


def sweep_incidents(connection: Connection, settings: Settings) -> int:
    """Do for all open incidents what is due; how many were resolved."""
    lock_incidents(connection)
    resolved = resolve_what_is_over(connection) + _resolve_tasks(connection)
    connection.execute(text(_END_WHAT_PEOPLE_SET))
    explain(connection, connection.scalars(text(_TO_EXPLAIN)).all())
    connection.execute(text(_CALM_DOWN))
    _speak_up(connection)
    _remind(connection)
    return resolved


# Whether anything has been over for long enough.
ANY_TO_TELL = "SELECT EXISTS (SELECT FROM incident WHERE tell_resolved_at <= now())"


def tell_resolved(connection: Connection, settings: Settings) -> None:
    """Tell people what has been over for long enough; unless it is turned off, in one message per kind."""
    if not connection.scalar(text(ANY_TO_TELL)):
        return
    lock_incidents(connection)
    if settings.alert_resolved:
        statement = f"""
            SELECT incident.id FROM incident
            WHERE incident.state = 'resolved' AND incident.tell_resolved_at <= now() AND ({MAY_SPEAK})
        """  # noqa: S608 - the condition is a constant
        tell_as(connection, "resolved", connection.scalars(text(statement)).all())
    else:
        forget = "UPDATE incident SET told_at = NULL, tell_resolved_at = NULL WHERE tell_resolved_at <= now()"
        connection.execute(text(forget))


def _resolve_tasks(connection: Connection) -> int:
    # The retry of the failed task succeeded, or none failed for a day.
    statement = """
        SELECT incident.id FROM incident
        WHERE kind = 'task' AND state <> 'resolved' AND (
            changed_at < now() - interval '24 hours'
            OR EXISTS (SELECT FROM task WHERE task.id = incident.task_id AND task.state = 'SUCCESS')
        )
    """
    return resolve(connection, connection.scalars(text(statement)).all())


# An acknowledgement or a snooze that has ended: people hear of what is still wrong.
_END_WHAT_PEOPLE_SET = """
WITH ended AS (
    UPDATE incident SET
        state = CASE WHEN acknowledged_until <= now() THEN 'open' ELSE state END,
        acknowledged_by = CASE WHEN acknowledged_until <= now() THEN NULL ELSE acknowledged_by END,
        acknowledged_at = CASE WHEN acknowledged_until <= now() THEN NULL ELSE acknowledged_at END,
        acknowledged_until = CASE WHEN acknowledged_until <= now() THEN NULL ELSE acknowledged_until END,
        snooze = CASE WHEN snooze_ends THEN NULL ELSE snooze END,
        snoozed_until = CASE WHEN snooze_ends THEN NULL ELSE snoozed_until END,
        speaks_at = now(), changed_at = now(), version = version + 1
    FROM (
        SELECT waiting.id AS waiting_id, snoozed_until <= now() OR snooze = 'next_run' AND EXISTS (
            SELECT FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = waiting.pipeline_id AND execution.start_date > waiting.snoozed_at
                AND NOT execution.backfill
        ) AS snooze_ends
        FROM (
            SELECT incident.*, (
                SELECT max(at) FROM incident_event AS event
                WHERE event.incident_id = incident.id AND event.change = 'snoozed'
            ) AS snoozed_at
            FROM incident WHERE state <> 'resolved' AND (acknowledged_until IS NOT NULL OR snooze IS NOT NULL)
        ) AS waiting
    ) AS judged
    WHERE incident.id = waiting_id AND state <> 'resolved' AND (acknowledged_until <= now() OR snooze_ends)
    RETURNING incident.id, snooze_ends
)
INSERT INTO incident_event (incident_id, change, actor, text)
SELECT id, CASE WHEN snooze_ends THEN 'unsnoozed' ELSE 'unacknowledged' END, 'watcher',
    'The time that was set for it is over.'
FROM ended
"""

# What began, was found again or ended since the sweep before may have, be or have lost a cause; and an incident that is
# about to be told is looked at once more. The others keep the root that they have: to search for all of them took a
# second a minute where a thousand are open.
_TO_EXPLAIN = """
SELECT incident.id FROM incident LEFT JOIN incident AS root ON root.id = incident.root_id
WHERE incident.state <> 'resolved' AND incident.pipeline_id IS NOT NULL AND (
    incident.changed_at > now() - interval '2 minutes' OR incident.speaks_at <= now()
    OR root.state = 'resolved' OR root.root_id IS NOT NULL
)
"""

# Calm is two hours without another opening, or three successful runs since it ended.
_CALM_DOWN = """
UPDATE incident SET flapping = false, version = version + 1
FROM (
    SELECT flaps.id AS flapping_id, max(event.at) AS last_opened
    FROM incident AS flaps JOIN incident_event AS event ON event.incident_id = flaps.id AND event.change = 'reopened'
    WHERE flaps.flapping
    GROUP BY flaps.id
) AS calm
WHERE incident.id = flapping_id AND (
    last_opened < now() - interval '2 hours'
    OR incident.state = 'resolved' AND (
        SELECT count(*) FROM (
            SELECT FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = incident.pipeline_id AND execution.start_date > last_opened
                AND completed_successfully
            LIMIT 3
        ) AS run
    ) = 3
)
"""

# One whose moment to speak has come; one that was silent, though nothing open that people know of explains it; and one
# that a window held back. What somebody has acknowledged waits until that ends.
_SPEAKING = f"""
SELECT incident.id, incident.held_by
FROM incident
LEFT JOIN incident AS root ON root.id = incident.root_id AND root.state <> 'resolved' AND root.told_at IS NOT NULL
WHERE incident.state = 'open' AND incident.snooze IS NULL AND root.id IS NULL AND ({MAY_SPEAK})
    AND (incident.speaks_at <= now() OR incident.told_at IS NULL AND incident.speaks_at IS NULL
        OR incident.held_by IS NOT NULL)
ORDER BY incident.held_by, incident.id
"""  # noqa: S608 - the condition is a constant


def _speak_up(connection: Connection) -> None:
    rows = connection.execute(text(_SPEAKING)).all()
    held = hold_back(connection, [row.id for row in rows])
    free = [row for row in rows if row.id not in held]
    for window, group in groupby(free, attrgetter("held_by")):
        ids = [row.id for row in group]
        if window is None:
            tell_as(connection, "reminder", ids)
        else:
            tell_after_window(connection, window, ids)


def _remind(connection: Connection) -> None:
    """Tell people again, or others, of what the routes say: never what is acknowledged, snoozed or kept quiet."""
    if not may_be_due(connection):
        return
    # Open, and people were told of it: by ix_incident_current. An acknowledgement that was taken back begins it anew.
    statement = f"""
        SELECT incident.id AS incident_id, incident.pipeline_id, coalesce((
            SELECT max(at) FROM incident_event AS event
            WHERE event.incident_id = incident.id AND change IN ('opened', 'reopened', 'unacknowledged')
        ), incident.opened_at) AS since
        FROM incident
        WHERE state = 'open' AND snooze IS NULL AND told_at IS NOT NULL AND held_by IS NULL AND ({MAY_SPEAK})
        ORDER BY incident.id
    """  # noqa: S608 - the condition is a constant
    rows = connection.execute(text(statement)).all()
    for due in find_due(connection, [Unattended(row.incident_id, row.since, row.pipeline_id) for row in rows]):
        quiet = hold_back(connection, due.incident_ids)
        tell_as(connection, due.change, [id_ for id_ in due.incident_ids if id_ not in quiet], due.deliveries)
