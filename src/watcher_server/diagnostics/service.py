"""What the database says of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True)
class DatabaseFacts:
    """The server and the connections to this database, by state where they have one."""

    version: str
    size_bytes: int
    connections: int
    max_connections: int
    connection_states: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class TableFacts:
    """One table; the rows are the statistics' estimate, the size includes indexes, times are UTC."""

    name: str
    rows: int
    dead_rows: int
    size_bytes: int
    vacuumed_at: datetime | None


_DATABASE = """
SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS size_bytes,
    (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
    current_setting('max_connections')::int AS max_connections
"""

_CONNECTION_STATES = """
SELECT state, count(*) FROM pg_stat_activity
WHERE datname = current_database() AND state IS NOT NULL GROUP BY state ORDER BY state
"""

_TABLES = """
SELECT relname AS name, n_live_tup AS rows, n_dead_tup AS dead_rows,
    pg_total_relation_size(relid) AS size_bytes, greatest(last_vacuum, last_autovacuum) AS vacuumed_at
FROM pg_stat_user_tables WHERE schemaname = current_schema()
ORDER BY size_bytes DESC, relname
"""


async def describe_database(session: AsyncSession) -> DatabaseFacts:
    """Version, size and connections."""
    facts = (await session.execute(text(_DATABASE))).one()._asdict()
    states = (await session.execute(text(_CONNECTION_STATES))).all()
    return DatabaseFacts(**facts, connection_states=[(state, number) for state, number in states])


async def describe_tables(session: AsyncSession) -> list[TableFacts]:
    """Every table of Watcher, the largest first."""
    return [TableFacts(**row._asdict()) for row in await session.execute(text(_TABLES))]
