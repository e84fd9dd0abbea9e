"""Emptying the tables between tests."""

from collections.abc import Collection

from psycopg.errors import DeadlockDetected
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from watcher_server.models import Base

# From this size on an emptied table would slow down the scans of the tests that follow.
LARGE_BYTES = 4 * 1024 * 1024
_RESTART_IDENTITY = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
FROM pg_sequences WHERE last_value IS NOT NULL
"""


def empty_tables(engine: Engine, kept: Collection[str] = ()) -> None:
    """Empty every table but the kept ones, and let ids begin at 1 again.

    The keeper of a Watcher that runs locks tables in another order, so PostgreSQL may end this as a deadlock.
    """
    for last in (False, False, False, True):
        try:
            with engine.begin() as connection:
                _delete_everything(connection, kept)
        except OperationalError as error:
            if last or not isinstance(error.orig, DeadlockDetected):
                raise
        else:
            return


def _delete_everything(connection: Connection, kept: Collection[str]) -> None:
    """Lock every table, as TRUNCATE would, and delete the rows of those that have some.

    TRUNCATE makes new files for every table and every index, which takes a hundred times as long. It is used only when
    a table has become large.
    """
    tables = [table.name for table in Base.metadata.sorted_tables if table.name not in kept]
    connection.execute(text(f"LOCK TABLE {', '.join(tables)}"))
    seen = connection.execute(
        text("SELECT " + ", ".join(f"EXISTS (SELECT FROM {t}), pg_relation_size('{t}')" for t in tables))
    ).one()
    filled = {name: size for name, used, size in zip(tables, seen[::2], seen[1::2], strict=True) if used}
    if any(size > LARGE_BYTES for size in filled.values()):
        connection.execute(text(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY"))
        return
    # Foreign keys and triggers need no look at rows that all go.
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    for name in filled:
        connection.execute(text(f"DELETE FROM {name}"))
    connection.execute(text(_RESTART_IDENTITY))
