"""What an incident touches, and what it is perhaps caused by, as messages say it."""

import json
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, text

from watcher_server.alerts.service import Subject
from watcher_server.incidents.roots import read_perhaps
from watcher_server.lineage.impact import count_downstream, downstream_text
from watcher_server.settings import get_settings

# A message names this many things and counts the others.
NAMED_IN_ALERT = 20
# Of what is wrong because of an incident a message names two of each kind, and its page all.
_NAMED = 2


def describe_touched(connection: Connection, subjects: Sequence[Subject]) -> list[str]:
    """What lies downstream of each, and what is wrong because of it; empty for nothing.

    ``12 addresses downstream; revenue, forecast and 1 more are stale because of it``
    """
    pipeline_ids = sorted({subject.pipeline_id for subject in subjects if subject.pipeline_id is not None})
    downstream = count_downstream(connection, pipeline_ids)
    effects = _describe_effects(connection, [subject.incident_id for subject in subjects if subject.incident_id])
    both = (
        (downstream_text(downstream.get(subject.pipeline_id or 0, 0)), effects.get(subject.incident_id or 0))
        for subject in subjects
    )
    return ["; ".join(filter(None, texts)) for texts in both]


def _describe_effects(connection: Connection, incident_ids: Sequence[int]) -> dict[int, str]:
    # By ix_incident_root_id.
    statement = """
        SELECT incident.root_id, incident.kind, coalesce(pipeline.display_name, pipeline.name) AS name
        FROM incident JOIN pipeline ON pipeline.id = incident.pipeline_id
        WHERE incident.root_id = ANY(CAST(:incident_ids AS bigint[])) AND incident.state <> 'resolved'
        ORDER BY incident.root_id, incident.kind, incident.id
    """
    effects = connection.execute(text(statement), {"incident_ids": list(incident_ids)})
    return {
        root_id: "; ".join(
            _enumerate(kind, [row.name for row in rows]) for kind, rows in groupby(group, attrgetter("kind"))
        )
        for root_id, group in groupby(effects, attrgetter("root_id"))
    }


def _enumerate(kind: str, names: list[str]) -> str:
    more = [f"{len(names) - _NAMED:,} more"] if len(names) > _NAMED else []
    *first, last = [*names[:_NAMED], *more]
    verb = "are" if first else "is"
    return f"{', '.join(first)}{' and ' if first else ''}{last} {verb} {kind} because of it"


def describe_impact(connection: Connection, about: Subject) -> list[tuple[str, str]]:
    """The details of a message about one incident: what it touches, its cause perhaps, and its page."""
    incident_id = about.incident_id or 0
    (touched,) = describe_touched(connection, [about])
    details = [("Touches", touched)] if touched else []
    perhaps = read_perhaps(connection, incident_id)
    if perhaps:
        details.append(("Perhaps because of", ", ".join(f"#{cause}" for cause in perhaps[:_NAMED])))
    public_url = get_settings().public_url
    if public_url is None:
        return [*details, ("Incident", f"#{incident_id}")]
    return [*details, (f"Incident {incident_id}", f"{public_url.rstrip('/')}/ui/incidents/{incident_id}")]


# The message about the root, as long as it waits for others to join; the channel's lane has not taken it then.
_WAITING_ALERT = """
SELECT alert.id, alert.details, root.id AS root_id, root.pipeline_id
FROM incident
JOIN incident AS root ON root.id = incident.root_id AND root.state <> 'resolved'
JOIN alert_subject AS subject ON subject.incident_id = root.id
JOIN alert ON alert.id = subject.alert_id
WHERE incident.id = :incident_id AND EXISTS (
    SELECT FROM notification
    WHERE notification.alert_id = alert.id AND state = 'waiting' AND attempts = 0 AND next_try_at > now()
)
ORDER BY alert.id DESC LIMIT 1
FOR NO KEY UPDATE OF alert
"""

_JOINED = """
SELECT incident.id, incident.pipeline_id, incident.execution_id, coalesce(pipeline.display_name, pipeline.name) AS name
FROM incident JOIN pipeline ON pipeline.id = incident.pipeline_id
WHERE incident.root_id = :root_id AND incident.state <> 'resolved' ORDER BY incident.id
"""

_SHARED_LABEL, _JOINED_LABEL = "Tables", "Also out of range"


def name_in_root(connection: Connection, incident_id: int) -> None:
    """Name an explained incident in the message about its root, if that has not been sent yet."""
    alert = connection.execute(text(_WAITING_ALERT), {"incident_id": incident_id}).one_or_none()
    if alert is None:
        return
    joined = connection.execute(text(_JOINED), {"root_id": alert.root_id}).all()
    pipeline_ids = [alert.pipeline_id, *(row.pipeline_id for row in joined)]
    # What the pipelines of the root and of what it explains write in common.
    statement = """
        SELECT coalesce(address.display_name, address.name)
        FROM address_lineage AS lineage JOIN address ON address.id = lineage.target_address_id
        WHERE lineage.pipeline_id = ANY(CAST(:pipeline_ids AS bigint[]))
        GROUP BY address.id HAVING count(DISTINCT lineage.pipeline_id) > 1
        ORDER BY count(DISTINCT lineage.pipeline_id) DESC, address.name LIMIT :named
    """
    shared = connection.scalars(text(statement), {"pipeline_ids": pipeline_ids, "named": _NAMED}).all()
    names = [row.name for row in joined]
    more = f" and {len(names) - NAMED_IN_ALERT:,} more" if len(names) > NAMED_IN_ALERT else ""
    details = [pair for pair in alert.details if pair[0] not in {_SHARED_LABEL, _JOINED_LABEL}]
    if shared:
        details.append([_SHARED_LABEL, ", ".join(shared)])
    details.append([_JOINED_LABEL, ", ".join(names[:NAMED_IN_ALERT]) + more])
    parameters = {"details": json.dumps(details), "alert_id": alert.id, "incident_id": incident_id}
    name = """
        WITH named AS (
            UPDATE alert SET details = CAST(:details AS jsonb) WHERE id = :alert_id
        )
        INSERT INTO alert_subject (alert_id, incident_id, pipeline_id, execution_id)
        SELECT :alert_id, id, pipeline_id, execution_id FROM incident WHERE id = :incident_id
    """
    connection.execute(text(name), parameters)
