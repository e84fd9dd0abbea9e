"""Builders and readers of alerts on their way to a channel."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, insert, text

from tests.support.rows import rows
from watcher_server.alerts.lanes import tell
from watcher_server.alerts.levels import Level
from watcher_server.alerts.models import Alert, AlertSubject, Notification
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.settings import Settings

CHANNEL = "default"


def put(
    engine: Engine,
    message: str = "stale",
    *incidents: int,
    level: Level = Level.WARNING,
    change: str | None = None,
    wait_seconds: float = 0,
    **fields: Any,
) -> int:
    """Raise an alert about these incidents; the id of its notification. The fields are columns of that."""
    with engine.begin() as connection:
        alert = NewAlert(
            dedupe_key=f"{message} {level} {change} {incidents}",
            level=level,
            title="Alert",
            message=message,
            change=change,
            wait_seconds=wait_seconds,
            subjects=[Subject(incident_id=incident) for incident in incidents],
        )
        alert_id = raise_alert(connection, alert)
        found = connection.scalar(text("SELECT id FROM notification WHERE alert_id = :id"), {"id": alert_id})
        notification_id = int(found or 0)
        change_notification(connection, notification_id, **fields)
        return notification_id


_OF_DELIVERY = {"state", "attempts", "sent_at", "sent_to", "last_error", "next_try_at", "perhaps_sent"}


def add_alert(connection: Connection, key: str = "k", *subjects: Subject, **fields: Any) -> int:
    """An alert that waits to be sent, unless the fields say otherwise, which are columns of it or its delivery."""
    of_alert = {name: value for name, value in fields.items() if name not in _OF_DELIVERY}
    values = {"dedupe_key": key, "level": "WARNING", "title": "Title", "message": "A message", **of_alert}
    alert_id = int(connection.execute(insert(Alert).values(values).returning(Alert.id)).scalar_one())
    for subject in subjects:
        connection.execute(insert(AlertSubject).values(alert_id=alert_id, **asdict(subject)))
    delivery = {name: value for name, value in fields.items() if name in {*_OF_DELIVERY, "created_at"}}
    connection.execute(insert(Notification).values(alert_id=alert_id, channel=CHANNEL, **delivery))
    return alert_id


def change_notification(connection: Connection, notification_id: int, **fields: Any) -> None:
    """Write columns of a notification."""
    for name, value in fields.items():
        connection.execute(
            text(f"UPDATE notification SET {name} = :value WHERE id = :id"), {"value": value, "id": notification_id}
        )


def add_incident(engine: Engine, subject: str = "orders") -> int:
    """An open incident; its id."""
    statement = """
        INSERT INTO incident (kind, subject, level, since) VALUES ('task', :subject, 'ERROR', now()) RETURNING id
    """
    with engine.begin() as connection:
        return int(connection.scalar(text(statement), {"subject": subject}) or 0)


def deliver(engine: Engine, settings: Settings, *, seconds: float = 30) -> int:
    """Send what is due; how many messages arrived."""
    return tell(engine, CHANNEL, settings, seconds=seconds)


def notifications(engine: Engine) -> list[dict[str, Any]]:
    """All notifications, by id."""
    with engine.connect() as connection:
        return rows(connection, Notification)


def states(engine: Engine) -> list[str]:
    """The states of all notifications, by id."""
    return [row["state"] for row in notifications(engine)]


def channel(engine: Engine) -> dict[str, Any]:
    """The row of the channel."""
    with engine.connect() as connection:
        statement = text("SELECT * FROM channel WHERE name = :name")
        return dict(connection.execute(statement, {"name": CHANNEL}).mappings().one())


def change_channel(engine: Engine, **fields: Any) -> None:
    """Write columns of the channel."""
    with engine.begin() as connection:
        for name, value in fields.items():
            statement = text(f"UPDATE channel SET {name} = :value WHERE name = :name")
            connection.execute(statement, {"value": value, "name": CHANNEL})


def make_due(engine: Engine) -> None:
    """Let all pauses be over."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE channel SET paused_until = now() - interval '1 second'"))
        connection.execute(
            text("UPDATE notification SET next_try_at = now() - interval '1 second' WHERE state = 'waiting'")
        )
