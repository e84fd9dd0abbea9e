"""Alembic's entry: runs the migrations on the connection that ``database.migrate`` hands over."""

from alembic import context
from sqlalchemy import Connection, text


def run(connection: Connection) -> None:
    # A migration that cannot get its lock soon gives up, so that writers do not queue behind it.
    connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
