"""Telling people, when a window is over, of what was found in it and still holds."""

from collections.abc import Collection, Hashable, Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.levels import RANKS, Level
from watcher_server.alerts.routing.grouping import group_subjects
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.incidents.telling import Line, mark_told, name_lines

_TITLE = "Maintenance Window Over"

_ROWS = """
SELECT incident.id, incident.kind, incident.level, incident.subject, incident.detail, incident.pipeline_id,
    incident.execution_id, incident.told_at, coalesce(pipeline.display_name, pipeline.name) AS name
FROM incident LEFT JOIN pipeline ON pipeline.id = incident.pipeline_id
WHERE incident.id = ANY(CAST(:ids AS bigint[])) ORDER BY incident.id
"""


def tell_after_window(connection: Connection, window: str, incident_ids: Collection[int]) -> None:
    """Tell people in one message of what began or got worse in a window and still holds; those of a route in one."""
    rows = connection.execute(text(_ROWS), {"ids": list(incident_ids)}).all()
    subjects = [_subject(row) for row in rows]
    groups = group_subjects(connection, subjects, kind="", level=Level.WARNING)
    of_group: dict[Hashable, list[Row[Any]]] = {}
    for group, row in zip(groups, rows, strict=True):
        of_group.setdefault(group, []).append(row)
    for members in of_group.values():
        _tell(connection, window, members)


def _tell(connection: Connection, window: str, rows: Sequence[Row[Any]]) -> None:
    worst_first = sorted(rows, key=lambda row: (-RANKS[row.level], row.id))
    kinds = {row.kind for row in rows}
    change = "opened" if any(row.told_at is None for row in rows) else "reminder"
    holds = "1 incident still holds" if len(rows) == 1 else f"{len(rows):,} incidents still hold"
    alert = NewAlert(
        dedupe_key=f"window:{window}:{uuid4()}",
        level=Level(worst_first[0].level),
        title=_TITLE,
        message=f"The window '{window}' is over: {holds}",
        details=name_lines(connection, [_line(row) for row in worst_first]),
        kind=kinds.pop() if len(kinds) == 1 else None,
        change=change,
        subjects=[_subject(row) for row in worst_first],
    )
    raise_alert(connection, alert)
    mark_told(connection, [row.id for row in rows], change)


def _subject(row: Row[Any]) -> Subject:
    return Subject(incident_id=row.id, pipeline_id=row.pipeline_id, execution_id=row.execution_id)


def _line(row: Row[Any]) -> Line:
    said = f"{row.level} {row.kind}, {row.detail}" if row.detail else f"{row.level} {row.kind}"
    return Line(f"{row.name or row.subject} (#{row.id})", said, _subject(row))
