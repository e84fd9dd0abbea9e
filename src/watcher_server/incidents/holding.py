"""Incidents that a window keeps from being told."""

from collections.abc import Collection

from sqlalchemy import Connection, text

from watcher_server.alerts.routing.quiet import find_held


def hold_back(connection: Connection, incident_ids: Collection[int]) -> set[int]:
    """Those of these incidents that a window keeps quiet now; the sweep tells them at its end, if they still hold."""
    held = find_held(connection, incident_ids)
    if held:
        statement = """
            WITH held AS (
                UPDATE incident SET held_by = held.name
                FROM unnest(CAST(:ids AS bigint[]), CAST(:names AS text[])) AS held (id, name)
                WHERE incident.id = held.id AND incident.held_by IS DISTINCT FROM held.name
                RETURNING incident.id, held.name
            )
            INSERT INTO incident_event (incident_id, change, actor, text)
            SELECT id, 'held', 'watcher', 'By the window ' || name FROM held
        """
        connection.execute(text(statement), {"ids": list(held), "names": list(held.values())})
    return set(held)
