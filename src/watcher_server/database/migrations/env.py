"""Alembic's entry: runs the migrations on the connection that ``database.migrate`` hands over."""

from alembic import context
from sqlalchemy import Connection, text

from watcher_server.database.migrate import VERSION_TABLE


def run(connection: Connection) -> None:
    # A migration that cannot get its lock soon gives up, so that writers do not queue behind it. A role may have a time
    # limit for statements, which is not meant for these.
    connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    context.configure(connection=connection, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
