"""Telling people, when a window is over, of what was found in it and still holds."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.levels import RANKS, Level
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.incidents.telling import Line, by_audience, mark_told, name_lines


def tell_after_window(connection: Connection, window: str, incident_ids: Collection[int]) -> None:
    """Tell people in one message of what began or got worse in a window and still holds; those of a route in one."""
    statement = """
        SELECT incident.id, incident.kind, incident.level, incident.subject, incident.detail, incident.pipeline_id,
            incident.execution_id, incident.told_at, coalesce(pipeline.display_name, pipeline.name) AS name
        FROM incident LEFT JOIN pipeline ON pipeline.id = incident.pipeline_id
        WHERE incident.id = ANY(CAST(:ids AS bigint[])) ORDER BY incident.id
    """
    found = connection.execute(text(statement), {"ids": list(incident_ids)})
    rows: dict[int | None, Row[Any]] = {row.id: row for row in found}
    lines = [_line(row) for row in sorted(rows.values(), key=lambda row: (-RANKS[row.level], row.id))]
    for together in by_audience(connection, lines, kind="", level=Level.WARNING):
        _tell(connection, window, together, [rows[line.about.incident_id] for line in together])


def _tell(connection: Connection, window: str, worst_first: Sequence[Line], rows: Sequence[Row[Any]]) -> None:
    kinds = {row.kind for row in rows}
    change = "opened" if any(row.told_at is None for row in rows) else "reminder"
    holds = "1 incident still holds" if len(rows) == 1 else f"{len(rows):,} incidents still hold"
    alert = NewAlert(
        dedupe_key=f"window:{window}:{uuid4()}",
        level=Level(rows[0].level),
        title="Maintenance Window Over",
        message=f"The window '{window}' is over: {holds}",
        details=name_lines(connection, worst_first),
        kind=kinds.pop() if len(kinds) == 1 else None,
        change=change,
        subjects=[line.about for line in worst_first],
    )
    raise_alert(connection, alert)
    mark_told(connection, [row.id for row in rows], change)


def _line(row: Row[Any]) -> Line:
    said = f"{row.level} {row.kind}, {row.detail}" if row.detail else f"{row.level} {row.kind}"
    about = Subject(incident_id=row.id, pipeline_id=row.pipeline_id, execution_id=row.execution_id)
    return Line(f"{row.name or row.subject} (#{row.id})", said, about)
