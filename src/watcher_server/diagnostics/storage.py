"""What lies in the database: tables and indexes, their size and their use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class TableFacts:
    """One table. Rows are the statistics' estimate; times are UTC, None for never.

    Sizes are in bytes, None while another session holds the table for itself. ``sequential_rows`` is how many rows
    all ``sequential_scans`` together have read. ``changed_rows`` have changed since the table was last analyzed.
    ``tuned`` says that the table has settings of its own for autovacuum.
    """

    name: str
    rows: int
    dead_rows: int
    changed_rows: int
    table_bytes: int | None
    index_bytes: int | None
    sequential_scans: int
    sequential_rows: int
    index_scans: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None
    tuned: bool

    @property
    def size_bytes(self) -> int | None:
        """The table with its indexes; None while another session holds it for itself."""
        return None if self.table_bytes is None or self.index_bytes is None else self.table_bytes + self.index_bytes


@dataclass(frozen=True)
class IndexFacts:
    """One index: its size in bytes (None while its table is held), and how often and when (UTC) it was last used.

    One that ``enforces`` keeps values unique, whether or not it is read by. One that is not ``valid`` was not built
    to its end.
    """

    name: str
    table: str
    size_bytes: int | None
    scans: int
    used_at: datetime | None
    enforces: bool
    valid: bool


@dataclass(frozen=True)
class Storage:
    """All tables and indexes of Watcher's schema, the largest first."""

    tables: Sequence[TableFacts]
    indexes: Sequence[IndexFacts]


# Reading a size waits for whoever holds the table for itself: of such tables there is none.
_TABLES = """
SELECT counted.relname AS name, n_live_tup AS rows, n_dead_tup AS dead_rows, n_mod_since_analyze AS changed_rows,
    size.table_bytes, size.index_bytes,
    seq_scan AS sequential_scans, seq_tup_read AS sequential_rows, coalesce(idx_scan, 0) AS index_scans,
    greatest(last_vacuum, last_autovacuum) AS vacuumed_at, greatest(last_analyze, last_autoanalyze) AS analyzed_at,
    coalesce(reloptions::text LIKE '%autovacuum_vacuum%', false) AS tuned
FROM pg_stat_user_tables AS counted
JOIN pg_class ON pg_class.oid = relid
LEFT JOIN (
    SELECT DISTINCT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS held ON held.relation = relid
LEFT JOIN LATERAL (
    SELECT pg_table_size(relid) AS table_bytes, pg_indexes_size(relid) AS index_bytes WHERE held.relation IS NULL
) AS size ON true
WHERE counted.schemaname = current_schema()
ORDER BY size.table_bytes + size.index_bytes DESC NULLS FIRST, name
"""

_INDEXES = """
SELECT counted.indexrelname AS name, counted.relname AS table,
    CASE WHEN held.relation IS NULL THEN pg_relation_size(counted.indexrelid) END AS size_bytes,
    idx_scan AS scans, last_idx_scan AS used_at, indisunique AS enforces, indisvalid AS valid
FROM pg_stat_user_indexes AS counted
JOIN pg_index ON pg_index.indexrelid = counted.indexrelid
LEFT JOIN (
    SELECT DISTINCT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS held ON held.relation IN (counted.relid, counted.indexrelid)
WHERE counted.schemaname = current_schema()
ORDER BY size_bytes DESC NULLS FIRST, name
"""


async def read_storage(connection: AsyncConnection) -> Storage:
    """The tables and indexes as the statistics have them."""
    tables = await connection.execute(text(_TABLES))
    indexes = await connection.execute(text(_INDEXES))
    return Storage(
        tables=[TableFacts(**row._asdict()) for row in tables],
        indexes=[IndexFacts(**row._asdict()) for row in indexes],
    )
