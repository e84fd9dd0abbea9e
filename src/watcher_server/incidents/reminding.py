"""Telling people again of what nobody has acknowledged, and telling others, as the routes say."""

from sqlalchemy import Connection, text

from watcher_server.alerts.routing.repeats import Unattended, find_due, may_be_due
from watcher_server.incidents.holding import hold_back
from watcher_server.incidents.telling import MAY_SPEAK, tell_as

# Open, and people were told of it: by ix_incident_current. An acknowledgement that was taken back begins it anew.
_UNATTENDED = f"""
SELECT incident.id AS incident_id, incident.pipeline_id, coalesce((
    SELECT max(at) FROM incident_event AS event
    WHERE event.incident_id = incident.id AND change IN ('opened', 'reopened', 'unacknowledged')
), incident.opened_at) AS since
FROM incident
WHERE state = 'open' AND snooze IS NULL AND told_at IS NOT NULL AND held_by IS NULL AND ({MAY_SPEAK})
ORDER BY incident.id
"""  # noqa: S608 - the condition is a constant


def remind(connection: Connection) -> None:
    """Tell what the routes say is due: never what is acknowledged, snoozed or kept quiet by a window."""
    if not may_be_due(connection):
        return
    rows = connection.execute(text(_UNATTENDED)).all()
    dues = find_due(connection, [Unattended(row.incident_id, row.since, row.pipeline_id) for row in rows])
    for due in dues:
        quiet = hold_back(connection, due.incident_ids)
        tell_as(connection, due.change, [id_ for id_ in due.incident_ids if id_ not in quiet], due.deliveries)
