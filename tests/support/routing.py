"""Builders of routes, calendars, windows and channels that stand in the tables, and readers of who was told."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, insert, text
from sqlalchemy.dialects.postgresql import insert as upsert

from tests.support.rows import rows
from watcher_server.alerts.lanes import tell
from watcher_server.alerts.levels import Level
from watcher_server.alerts.models import AlertingObject, Channel, Notification
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.settings import load_settings

ALWAYS = {"zone": "UTC", "weekly": ["mon-sun 00:00-24:00"]}


def closed_now() -> dict[str, Any]:
    """A calendar that opens in about twelve hours, for half an hour."""
    hour = (datetime.now(UTC).hour + 12) % 24
    return {"zone": "UTC", "weekly": [f"mon-sun {hour:02}:00-{hour:02}:30"]}


def put_object(engine: Engine, kind: str, name: str, spec: dict[str, Any]) -> None:
    """A route, a calendar or a window; each route stands after those that were put before."""
    with engine.begin() as connection:
        position = connection.scalar(text("SELECT count(*) FROM alerting_object")) or 0
        connection.execute(insert(AlertingObject).values(kind=kind, name=name, position=position, spec=spec))


def put_route(engine: Engine, name: str, to: str = "", **spec: Any) -> None:
    """A route to a channel of its own name, unless told otherwise, that waits for nothing."""
    put_object(engine, "route", name, {"to": [to or name], "group_wait": "0s", **spec})


def put_window(engine: Engine, name: str = "deploy", **spec: Any) -> None:
    """A window over every pipeline that has begun and does not end, unless told otherwise."""
    put_object(engine, "window", name, {"match": {"pipeline": ["*"]}, **spec})


def remove(engine: Engine, name: str) -> None:
    """Take a route, a calendar or a window away."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alerting_object WHERE name = :name"), {"name": name})


def put_channel(engine: Engine, name: str, **values: Any) -> None:
    """A channel that says everything to the log."""
    row = {"name": name, "spec": {}, **values}
    with engine.begin() as connection:
        statement = upsert(Channel).values(row)
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))


def raise_about(
    engine: Engine, *incidents: int, change: str | None = "opened", level: Level = Level.WARNING, message: str = "wrong"
) -> int:
    """Raise an alert about these incidents; its id."""
    with engine.begin() as connection:
        subjects = [Subject(incident_id=incident) for incident in incidents]
        alert = NewAlert(str(uuid4()), level, "Alert", message, kind="stale", change=change, subjects=subjects)
        return raise_alert(connection, alert) or 0


def deliveries(engine: Engine, alert_id: int | None = None) -> list[dict[str, Any]]:
    """The notifications of an alert, or of all, by id."""
    with engine.connect() as connection:
        return [row for row in rows(connection, Notification) if alert_id in {None, row["alert_id"]}]


def told(engine: Engine, alert_id: int | None = None) -> dict[str, str]:
    """The state of each channel that an alert goes to."""
    return {row["channel"]: row["state"] for row in deliveries(engine, alert_id)}


def come_due(engine: Engine) -> None:
    """Let everything that waits be due now."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE notification SET next_try_at = now() WHERE state = 'waiting'"))


def send_due(engine: Engine, *channels: str) -> list[str]:
    """Send what is due to these channels; the messages that arrived so far, oldest first."""
    for channel in channels:
        tell(engine, channel, load_settings(), seconds=30)
    return said(engine, *channels)


def said(engine: Engine, *channels: str) -> list[str]:
    """The messages that arrived at these channels, oldest first: level, title and message."""
    statement = """
        SELECT level || ' ' || title || ': ' || message FROM notification JOIN alert ON alert.id = alert_id
        WHERE state = 'sent' AND channel = ANY(:channels) ORDER BY sent_at, notification.id
    """
    with engine.connect() as connection:
        return list(connection.scalars(text(statement), {"channels": list(channels)}))
