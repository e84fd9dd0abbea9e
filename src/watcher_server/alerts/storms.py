"""Gathering the openings of a storm into one message."""

from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from watcher_server.alerts.levels import RANKS
from watcher_server.alerts.service import moment_text

# The message names this many and counts the others.
_NAMED = 20

# Everything that its members are about is what it is about, so that each incident's page names it and what comes later
# about one of them comes after it.
_GATHER = text("""
WITH gathered AS (
    INSERT INTO alert (dedupe_key, level, title, message, details, change)
    VALUES (:dedupe_key, :level, 'Many Incidents', :message, :details, 'opened')
    RETURNING id
), subject AS (
    INSERT INTO alert_subject (alert_id, incident_id, pipeline_id, execution_id, task_id)
    SELECT DISTINCT gathered.id, incident_id, pipeline_id, execution_id, task_id
    FROM gathered, alert_subject WHERE alert_id = ANY(:alert_ids)
), notified AS (
    INSERT INTO notification (alert_id, channel) SELECT id, :channel FROM gathered RETURNING id
)
UPDATE notification SET state = 'merged', sent_in = notified.id
FROM notified WHERE notification.id = ANY(:ids)
""").bindparams(bindparam("details", type_=JSONB))


def gather_storm(connection: Connection, channel: str, ids: Sequence[int]) -> None:
    """Put one message in the place of these notifications, which wait for the channel: the first 20 and a count."""
    statement = """
        SELECT alert.id, title, message, level, alert.created_at
        FROM alert JOIN notification ON notification.alert_id = alert.id
        WHERE notification.id = ANY(:ids)
        ORDER BY level <> 'CRITICAL', notification.id
    """
    members = connection.execute(text(statement), {"ids": list(ids)}).all()
    named = [(member.title, member.message.partition("\n")[0]) for member in members[:_NAMED]]
    others = [("Others", f"and {len(members) - _NAMED} more")] if len(members) > _NAMED else []
    since = moment_text(min(member.created_at for member in members))
    values = {
        "channel": channel,
        "ids": list(ids),
        "alert_ids": [member.id for member in members],
        "dedupe_key": f"storm:{uuid4()}",
        "level": max((member.level for member in members), key=lambda level: RANKS.get(level, -1)),
        "message": f"{len(members)} alerts of new incidents in one, the first of {since}",
        "details": [*named, *others],
    }
    connection.execute(_GATHER, values)
