"""Builders and readers of channels."""

from typing import Any

from sqlalchemy import Engine, insert, select

from watcher_server.alerts.models import AlertingObject, Channel


def add_channel(engine: Engine, name: str, type_: str, **spec: Any) -> None:
    """A channel of a type, as somebody made it."""
    with engine.begin() as connection:
        connection.execute(insert(Channel).values(name=name, type=type_, spec={"type": type_, **spec}))


def channel_named(engine: Engine, name: str) -> dict[str, Any]:
    """The row of a channel."""
    with engine.connect() as connection:
        statement = select(Channel.__table__).where(Channel.name == name)
        return dict(connection.execute(statement).mappings().one())


def add_route(engine: Engine, name: str, **spec: Any) -> None:
    """A route of what the owner finance has, as somebody made it."""
    values = {"match": {"owner": ["finance"]}, "group_wait": "0s", **spec}
    with engine.begin() as connection:
        connection.execute(insert(AlertingObject).values(kind="route", name=name, spec=values))
