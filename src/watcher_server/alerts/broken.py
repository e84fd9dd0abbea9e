"""Channels that are broken, and who is told in their place."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from watcher_server.alerts.config.schemas import DEFAULT


class BrokenChannel(NamedTuple):
    """A channel that is gone, or has failed for ten minutes."""

    name: str
    since: datetime
    gone: bool
    last_error: str | None


def find_broken(connection: Connection) -> list[BrokenChannel]:
    """The channels that are broken, by name: alerts of one that has failed for ten minutes go elsewhere."""
    statement = """
        SELECT name, coalesce(failing_since, now()) AS since, gone, last_error FROM channel
        WHERE gone OR failing_since < now() - interval '10 minutes' ORDER BY name
    """
    return [BrokenChannel._make(row) for row in connection.execute(text(statement))]


# A lane may have left a row of a channel that was removed; it says the rest by the settings, as ``default`` does.
_IS_THERE = "(type <> 'default' OR name = 'default')"

_HEALTH = f"SELECT name, NOT gone AND failures = 0 AS is_up FROM channel WHERE {_IS_THERE} ORDER BY name"  # noqa: S608 - of a constant


def read_health(connection: Connection) -> dict[str, bool]:
    """For each channel that there is, whether it took what it was sent last."""
    rows = connection.execute(text(_HEALTH))
    return {DEFAULT: True, **{row.name: row.is_up for row in rows}}


# The routes that name a channel, in their order.
_FALLBACKS = """
SELECT spec ->> 'fallback' FROM alerting_object
WHERE kind = 'route' AND spec ->> 'fallback' IS NOT NULL AND (
    spec -> 'to' ? CAST(:name AS text)
    OR EXISTS (SELECT FROM jsonb_array_elements(coalesce(spec -> 'escalate', '[]')) AS step
        WHERE step -> 'to' ? CAST(:name AS text))
)
ORDER BY position
"""


def find_substitutes(connection: Connection, name: str, broken: Collection[str]) -> Sequence[str]:
    """The channels that are told in the place of a broken one: the fallbacks of its routes, else all others."""
    named = connection.scalars(text(_FALLBACKS), {"name": name})
    others = [each for each in dict.fromkeys(named) if each not in broken]
    if others:
        return others
    known = connection.scalars(text(f"SELECT name FROM channel WHERE {_IS_THERE} ORDER BY name"))  # noqa: S608 - of a constant
    return [each for each in dict.fromkeys([DEFAULT, *known]) if each not in broken]


# What is due in the broken channel, or fails there, by ix_notification_waiting, and what was said of its own incident.
# Having been tried, it is told as it is by now, with what was missed in one line; what was held back until now is
# gathered there as it would have been here.
_SEND_ELSEWHERE = """
INSERT INTO notification (alert_id, channel, route, reason, attempts)
SELECT DISTINCT ON (alert_id, substitute) alert_id, substitute, route, reason, (reason IS NULL)::int
FROM (
    SELECT alert_id, route, reason FROM notification
    WHERE channel = :name AND state = 'waiting'
        AND (next_try_at <= now() OR reason IS NULL AND next_try_at <= now() + interval '15 minutes')
    UNION
    SELECT subject.alert_id, NULL, NULL
    FROM incident JOIN alert_subject AS subject ON subject.incident_id = incident.id
    WHERE incident.kind = 'channel' AND incident.subject = :name AND incident.state <> 'resolved'
) AS untold
CROSS JOIN unnest(CAST(:substitutes AS text[])) AS substitute
ORDER BY alert_id, substitute, reason NULLS FIRST
ON CONFLICT (alert_id, channel) DO NOTHING
"""


def send_elsewhere(connection: Connection, broken: Sequence[BrokenChannel]) -> None:
    """Have the substitutes of each broken channel told what waits there, and that it is broken."""
    names = [channel.name for channel in broken]
    for name in names:
        substitutes = find_substitutes(connection, name, names)
        if substitutes:
            connection.execute(text(_SEND_ELSEWHERE), {"name": name, "substitutes": list(substitutes)})
