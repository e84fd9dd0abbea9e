"""Alembic's entry: runs the migrations on the connection that ``database.migrate`` hands over."""

from alembic import context
from sqlalchemy import Connection, text

from watcher_server.database.models import Base


def run(connection: Connection) -> None:
    # A migration that cannot get its lock soon gives up instead of queueing every writer behind it.
    connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
