"""The tables and indexes of the database: their size, their use, and the checks of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from watcher_server.diagnostics.checks import Check, act_if, counted, judge_from, look_if
from watcher_server.kit.sizes import size_text
from watcher_server.models import Base


@dataclass(frozen=True)
class TableFacts:
    """One table. Rows are the statistics' estimate; times are UTC, None for never.

    Sizes are in bytes, None while another session holds the table exclusively; ``size_bytes`` is that of the table
    with its indexes. ``sequential_rows`` is how many rows all ``sequential_scans`` together have read.
    ``changed_rows`` have changed since the table was last analyzed. ``tuned`` says that the table has settings of its
    own for autovacuum.
    """

    name: str
    rows: int
    dead_rows: int
    changed_rows: int
    table_bytes: int | None
    index_bytes: int | None
    size_bytes: int | None
    sequential_scans: int
    sequential_rows: int
    index_scans: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None
    tuned: bool


@dataclass(frozen=True)
class IndexFacts:
    """One index: its size in bytes (None while its table is held), and how often and when (UTC) it was last used.

    An index that ``enforces`` keeps values unique, even if no statement reads it. One that is not ``valid`` was not
    built to its end.
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


def own_indexes() -> frozenset[str]:
    """The names of the indexes that Watcher makes, except those of keys, which are never dropped."""
    return frozenset(str(index.name) for table in Base.metadata.tables.values() for index in table.indexes)


# Reading the size of a table waits for the session that holds it exclusively, so such tables have no size here.
_TABLES = """
SELECT counted.relname AS name, n_live_tup AS rows, n_dead_tup AS dead_rows, n_mod_since_analyze AS changed_rows,
    table_bytes, index_bytes, table_bytes + index_bytes AS size_bytes,
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
ORDER BY size_bytes DESC NULLS FIRST, name
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
    return Storage(
        tables=[TableFacts(**row._asdict()) for row in await connection.execute(text(_TABLES))],
        indexes=[IndexFacts(**row._asdict()) for row in await connection.execute(text(_INDEXES))],
    )


def judge_storage(storage: Storage, counting: timedelta, *, autovacuum: bool) -> list[Check]:
    """The checks of all tables and indexes; ``counting`` is for how long the statistics have counted."""
    return [
        Check(
            "Autovacuum",
            "on" if autovacuum else "off",
            "on, with track_counts",
            act_if(not autovacuum),
            "Switch autovacuum on: without it tables only grow, and statements get slower.",
            ["ALTER SYSTEM SET autovacuum = on;", "ALTER SYSTEM SET track_counts = on;", "SELECT pg_reload_conf();"],
        ),
        *_judge_tables(storage.tables, counting),
        *_judge_indexes(storage.indexes, counting),
    ]


def _judge_tables(tables: Sequence[TableFacts], counting: timedelta) -> list[Check]:
    dead = [table for table in tables if _dead_share(table) >= 0.3]  # noqa: PLR2004
    stale = [table for table in tables if _has_stale_statistics(table)]
    untuned = [table for table in tables if table.rows >= 50_000_000 and not table.tuned]  # noqa: PLR2004
    scanned = [table for table in tables if _is_scanned(table, max(1.0, counting / timedelta(days=1)))]
    scans = sum(table.sequential_scans for table in scanned)
    return [
        Check(
            "Dead rows",
            f"{sum(table.dead_rows for table in tables):,}"
            + (f", in {counted(len(dead), 'table')} too many" if dead else ""),
            # Autovacuum cleans a table when a fifth of its rows is dead.
            "below 30 % of each table, or below 10,000",
            judge_from(max(map(_dead_share, tables), default=0.0), 0.3, 1),
            "End old open transactions, which keep dead rows alive, then clean the table.",
            [f"VACUUM (ANALYZE) {_quoted(table.name)};" for table in dead],
        ),
        Check(
            "Planner's statistics",
            f"old or missing for {counted(len(stale), 'table')}" if stale else "up to date",
            # Autovacuum analyzes a table when a tenth of its rows has changed.
            "less than 30 % of a table changed since, or less than 10,000 rows",
            look_if(stale),
            "Analyze the table; if it happens again, autovacuum has too few workers.",
            [f"ANALYZE {_quoted(table.name)};" for table in stale],
        ),
        Check(
            "Autovacuum of large tables",
            f"the largest has about {counted(max((table.rows for table in tables), default=0), 'row')}",
            # docs/growth.md says why.
            "settings of its own from 50,000,000 rows on",
            look_if(untuned),
            "Have it cleaned more often: a fifth of such a table is too much at once.",
            [
                f"ALTER TABLE {_quoted(table.name)} SET (autovacuum_vacuum_scale_factor = 0.02, "
                "autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.01);"
                for table in untuned
            ],
        ),
        Check(
            "Large tables read whole",
            f"{counted(len(scanned), 'table')}, {counted(scans, 'time')}" if scanned else "none",
            "below 24 times a day from 100,000 rows on",
            look_if(scanned),
            "Find the statement in pg_stat_statements, and report it if it is one of Watcher's: they use indexes.",
        ),
    ]


def _dead_share(table: TableFacts) -> float:
    return table.dead_rows / max(1, table.rows) if table.dead_rows >= 10_000 else 0.0  # noqa: PLR2004


def _has_stale_statistics(table: TableFacts) -> bool:
    if table.analyzed_at is None:
        return table.rows >= 10_000  # noqa: PLR2004
    return table.changed_rows >= max(10_000, 0.3 * table.rows)


def _is_scanned(table: TableFacts, days: float) -> bool:
    """Whether a large table is read whole; many other scans end early by a LIMIT, so the average counts."""
    scans = table.sequential_scans
    is_large_and_often = table.rows >= 100_000 and scans / days >= 24  # noqa: PLR2004
    return is_large_and_often and table.sequential_rows / scans >= table.rows / 2


def _judge_indexes(indexes: Sequence[IndexFacts], counting: timedelta) -> list[Check]:
    unused = [
        index
        for index in indexes
        if counting >= timedelta(days=7)
        and not (index.enforces or index.scans)
        and (index.size_bytes or 0) >= 64 * 1024**2
    ]
    unused_size = size_text(sum(index.size_bytes or 0 for index in unused))
    own = own_indexes()
    invalid = [index.name for index in indexes if not index.valid]
    return [
        Check(
            "Large indexes that nobody uses",
            f"{counted(len(unused), 'index', 'indexes')}, {unused_size}" if unused else "none",
            "none of 64.0 MiB or more, after 7 days of counting",
            look_if(unused),
            "Drop what Watcher did not make; its own belong to pages and checks that you may not use yet.",
            [f"DROP INDEX CONCURRENTLY {_quoted(index.name)};" for index in unused if index.name not in own],
        ),
        Check(
            "Whole indexes",
            f"{len(invalid):,} of {len(indexes):,} not whole" if invalid else f"all {len(indexes):,}",
            "all",
            act_if(invalid),
            "Build it again: every write has to keep it up to date, and no statement reads it.",
            [f"REINDEX INDEX CONCURRENTLY {_quoted(name)};" for name in invalid],
        ),
    ]


def _quoted(name: str) -> str:
    """A name as SQL takes it, in quotation marks if it needs them."""
    plain = name.isascii() and name.isidentifier() and name.islower()
    return name if plain else '"' + name.replace('"', '""') + '"'
