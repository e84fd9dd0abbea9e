"""What a channel is told: an alert, what it is about, and what was said of that on the channel before."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.channels.snapshot import About, Parent, Snapshot
from watcher_server.alerts.service import alert_text, moment_text
from watcher_server.settings import Settings

# A message that stands for several says of this many what they would have said, and counts the others.
_NAMED = 5

_TOLD = """
SELECT alert.id AS alert_id, level, title, message, details, alert.created_at, kind, change, channel, arrived,
    coalesce((SELECT spec ->> 'updates' = 'all' FROM alerting_object AS route
        WHERE route.kind = 'route' AND route.name = notification.route), false) AS stands_alone
FROM alert JOIN notification ON notification.alert_id = alert.id WHERE notification.id = :id
"""

_CHANGES = """
SELECT coalesce(change, 'told') AS change, alert.created_at FROM alert
JOIN notification ON notification.alert_id = alert.id WHERE notification.id = ANY(:ids) ORDER BY notification.id
"""

# What is told of an incident.
ABOUT = """
    incident.id, incident.kind, incident.level, incident.subject, incident.detail, incident.opened_at,
    incident.state = 'resolved' AS is_over,
    coalesce(pipeline.display_name, pipeline.name) AS name, pipeline.owner
"""

# By ix_alert_subject_alert_id.
_ABOUT = f"""
SELECT DISTINCT {ABOUT}
FROM alert_subject AS subject JOIN incident ON incident.id = subject.incident_id
LEFT JOIN pipeline_effective AS pipeline ON pipeline.id = incident.pipeline_id
WHERE subject.alert_id = :alert_id
ORDER BY incident.id
"""  # noqa: S608 - the columns are a constant


def compose(connection: Connection, notification_id: int, instead_of: Sequence[int], settings: Settings) -> Snapshot:
    """A notification. It says what it is sent instead of: when its incidents opened, and what else."""
    alert = connection.execute(text(_TOLD), {"id": notification_id}).one()
    details = [(str(label), str(value)) for label, value in alert.details]
    if instead_of:
        changes = connection.execute(text(_CHANGES), {"ids": list(instead_of)}).all()
        named = [f"{each.change} {moment_text(each.created_at)}" for each in changes[:_NAMED]]
        others = [f"and {len(changes) - _NAMED} more"] if len(changes) > _NAMED else []
        details.append(("Meanwhile", ", ".join([*named, *others])))
    incidents = [read_about(row, settings) for row in connection.execute(text(_ABOUT), {"alert_id": alert.alert_id})]
    parents = [] if alert.stands_alone else _parents(connection, notification_id, alert.channel, incidents)
    return Snapshot(
        key=f"{notification_id}-{alert.created_at:%Y%m%d%H%M%S}",
        level=alert.level,
        title=alert.title,
        message=alert.message,
        created_at=alert.created_at,
        text=_text(alert, details),
        details=details,
        kind=alert.kind,
        change=alert.change,
        incidents=incidents,
        parents=parents,
        arrived=frozenset(alert.arrived or ()),
        link=incidents[0].link if len(incidents) == 1 else page("/ui/incidents", settings) if incidents else None,
    )


def _text(alert: Row[Any], details: Sequence[Sequence[str]]) -> str:
    return alert_text(
        level=alert.level, title=alert.title, message=alert.message, details=details, created_at=alert.created_at
    )


def read_about(row: Row[Any], settings: Settings) -> About:
    """An incident from the columns of ``ABOUT``."""
    return About(
        id=row.id,
        # The number alone would be that of another Watcher's incident too, or of one before the database was restored.
        key=f"watcher-{row.id}-{row.opened_at:%Y%m%d%H%M%S}",
        kind=row.kind,
        level=row.level,
        subject=row.name or row.subject or "watcher",
        detail=row.detail,
        is_over=row.is_over,
        opened_at=row.opened_at,
        owner=row.owner,
        link=page(f"/ui/incidents/{row.id}", settings),
    )


def page(path: str, settings: Settings) -> str | None:
    """The address of a page; None where Watcher's public address is not set."""
    return f"{settings.public_url.rstrip('/')}{path}" if settings.public_url else None


# The last message with a reference about each incident: one in a thread has the reference of the thread. By
# ix_alert_subject_incident_id.
_PARENTS = """
WITH latest AS (
    SELECT DISTINCT ON (subject.incident_id) subject.incident_id, notification.ref
    FROM alert_subject AS subject JOIN notification ON notification.alert_id = subject.alert_id
    WHERE subject.incident_id = ANY(:incidents) AND notification.channel = :channel AND notification.ref IS NOT NULL
        AND notification.id <> :id
    ORDER BY subject.incident_id, notification.id DESC
)
SELECT DISTINCT ON (notification.ref) notification.ref, level, title, message, details, alert.created_at,
    NOT EXISTS (
        SELECT FROM alert_subject AS subject JOIN incident ON incident.id = subject.incident_id
        WHERE subject.alert_id = alert.id AND incident.state <> 'resolved'
    ) AS is_over
FROM latest JOIN notification ON notification.ref = latest.ref AND notification.channel = :channel
JOIN alert ON alert.id = notification.alert_id
ORDER BY notification.ref, notification.id
"""


def _parents(connection: Connection, notification_id: int, channel: str, incidents: Iterable[About]) -> list[Parent]:
    ids = [about.id for about in incidents]
    if not ids:
        return []
    rows = connection.execute(text(_PARENTS), {"incidents": ids, "channel": channel, "id": notification_id})
    return [Parent(row.ref, _text(row, row.details), row.is_over) for row in rows]
