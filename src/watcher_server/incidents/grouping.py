"""Incidents in groups: what each root explains, how many there are of each state, and since when all is well."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from watcher_server.incidents.kinds import RANKS
from watcher_server.incidents.reading import ListedIncident, read_incidents


def read_effects(
    connection: Connection, root_ids: Collection[int], *, most: int
) -> Mapping[int | None, Sequence[ListedIncident]]:
    """The live incidents that each of these explains, the worst first and this many of each, by the root's id."""
    if not root_ids:
        return {}
    parameters = {"root_ids": list(root_ids), "levels": list(RANKS), "most": most}
    found: dict[int | None, list[ListedIncident]] = defaultdict(list)
    # What lives below each root, the worst first, by ix_incident_root_id.
    statement = """
        SELECT effect.id
        FROM unnest(CAST(:root_ids AS bigint[])) AS root (id)
        CROSS JOIN LATERAL (
            SELECT id, opened_at, array_position(CAST(:levels AS text[]), level::text) AS rank FROM incident
            WHERE root_id = root.id AND state <> 'resolved'
            ORDER BY rank DESC, opened_at DESC, id DESC LIMIT :most
        ) AS effect
    """
    for effect in read_incidents(connection, connection.scalars(text(statement), parameters).all()):
        found[effect.root_id].append(effect)
    return found


class Live(NamedTuple):
    """How many incidents are open or acknowledged, and how many of these are explained by another of them."""

    open: int
    acknowledged: int
    explained: int

    @property
    def total(self) -> int:
        """How many there are that are not resolved."""
        return self.open + self.acknowledged


def count_live(connection: Connection) -> Live:
    """How many incidents there are that are not resolved."""
    # The live ones by ix_incident_current, their roots by the primary key.
    statement = """
        SELECT count(*) FILTER (WHERE incident.state = 'open'), count(*) FILTER (WHERE incident.state = 'acknowledged'),
            count(root.id)
        FROM incident LEFT JOIN incident AS root ON root.id = incident.root_id AND root.state <> 'resolved'
        WHERE incident.state <> 'resolved'
    """
    return Live(*connection.execute(text(statement)).one())


def read_last_resolved(connection: Connection) -> datetime | None:
    """When the last incident was resolved (UTC), by ix_incident_resolved_at; None before the first."""
    moment: datetime | None = connection.scalar(text("SELECT max(resolved_at) FROM incident"))
    return moment
