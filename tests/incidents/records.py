"""Builders of incidents that stand in the table, as if a check had found them."""

from typing import Any

from sqlalchemy import Connection, insert, select

from tests.support.rows import ago
from watcher_server.incidents.models import Incident, IncidentEvent


def add_incident(connection: Connection, pipeline_id: int | None = None, kind: str = "stale", **fields: Any) -> int:
    """An open incident that people were told about an hour ago, unless the fields say otherwise; its id."""
    moment = fields.get("opened_at", ago(hours=1))
    values = {
        "kind": kind,
        "pipeline_id": pipeline_id,
        "level": "WARNING",
        "detail": f"it is {kind}",
        "since": moment,
        "opened_at": moment,
        "told_at": moment,
        **({"resolution": "auto"} if "resolved_at" in fields else {}),
        **({"state": "resolved"} if "resolved_at" in fields else {}),
        **fields,
    }
    return int(connection.scalar(insert(Incident).values(values).returning(Incident.id)) or 0)


def incident(connection: Connection, incident_id: int) -> dict[str, Any]:
    """The row of an incident."""
    row = connection.execute(select(Incident.__table__).where(Incident.id == incident_id)).mappings().one()
    return dict(row)


def events(connection: Connection, incident_id: int) -> list[tuple[str, str, str | None]]:
    """What happened to an incident: change, actor and text, the oldest first."""
    event = IncidentEvent
    statement = select(event.change, event.actor, event.text).where(event.incident_id == incident_id)
    return [(change, actor, said) for change, actor, said in connection.execute(statement.order_by(event.id))]
