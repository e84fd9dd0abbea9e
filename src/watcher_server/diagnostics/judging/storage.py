"""Tables and indexes: are they cleaned, known to the planner, used and whole."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from watcher_server.database.models import Base
from watcher_server.diagnostics.checks import Check, Verdict, judge_from
from watcher_server.diagnostics.storage import IndexFacts, Storage, TableFacts
from watcher_server.diagnostics.wording import counted, percent_text
from watcher_server.kit.sizes import size_text

# Autovacuum begins at a fifth of a table.
DEAD_LOOK = 0.3
DEAD_ACT = 1.0
DEAD_ROWS = 10_000
# Autovacuum analyzes after a tenth.
CHANGED_LOOK = 0.3
CHANGED_ROWS = 10_000
UNUSED_DAYS = 7
UNUSED_BYTES = 64 * 1024**2
SCANNED_ROWS = 100_000
SCANS_PER_DAY = 24
# What a scan must have read of a table to have been one of the whole: a LIMIT ends many at once.
SCANNED_SHARE = 0.5
LARGE_ROWS = 50_000_000

_DAY = timedelta(days=1)


def judge_storage(storage: Storage, counting: timedelta, *, autovacuum: bool) -> list[Check]:
    """The checks of all tables and indexes; ``counting`` is for how long the statistics have counted."""
    return [
        judge_autovacuum(on=autovacuum),
        judge_dead_rows(storage.tables),
        judge_analyzed(storage.tables),
        judge_large_tables(storage.tables),
        judge_scans(storage.tables, counting),
        judge_unused(storage.indexes, counting),
        judge_valid(storage.indexes),
    ]


def judge_autovacuum(*, on: bool) -> Check:
    """Whether PostgreSQL cleans up by itself."""
    return Check(
        title="Autovacuum",
        figure="on" if on else "off",
        normal="on, with track_counts",
        verdict=Verdict.OK if on else Verdict.ACT,
        remedy="Switch autovacuum on: without it tables only grow, and statements get slower.",
        commands=() if on else _switch_on("autovacuum", "track_counts"),
    )


def _switch_on(*settings: str) -> tuple[str, ...]:
    return (*(f"ALTER SYSTEM SET {setting} = on;" for setting in settings), "SELECT pg_reload_conf();")


def dead_share(table: TableFacts) -> float:
    """Dead rows for each living one; 0 where there are too few to matter."""
    return table.dead_rows / max(1, table.rows) if table.dead_rows >= DEAD_ROWS else 0.0


def judge_dead_rows(tables: Sequence[TableFacts]) -> Check:
    """Whether what was deleted or changed is cleaned up."""
    worst = max(map(dead_share, tables), default=0.0)
    bad = [table.name for table in tables if dead_share(table) >= DEAD_LOOK]
    total = sum(table.dead_rows for table in tables)
    return Check(
        title="Dead rows",
        figure=f"{total:,}" + (f", in {counted(len(bad), 'table')} too many" if bad else ""),
        normal=f"below {percent_text(DEAD_LOOK)} of each table, or below {DEAD_ROWS:,}",
        verdict=judge_from(worst, DEAD_LOOK, DEAD_ACT),
        remedy="End old open transactions, which keep dead rows alive, then clean the table.",
        commands=[f"VACUUM (ANALYZE) {quoted(name)};" for name in bad],
    )


def is_unknown_to_planner(table: TableFacts) -> bool:
    """Whether the planner's statistics are missing, or of another table than it is today."""
    if table.analyzed_at is None:
        return table.rows >= CHANGED_ROWS
    return table.changed_rows >= max(CHANGED_ROWS, CHANGED_LOOK * table.rows)


def judge_analyzed(tables: Sequence[TableFacts]) -> Check:
    """Whether the planner knows the tables."""
    bad = [table.name for table in tables if is_unknown_to_planner(table)]
    return Check(
        title="Planner's statistics",
        figure=f"old or missing for {counted(len(bad), 'table')}" if bad else "up to date",
        normal=f"less than {percent_text(CHANGED_LOOK)} of a table changed since, or less than {CHANGED_ROWS:,} rows",
        verdict=Verdict.LOOK if bad else Verdict.OK,
        remedy="Analyze the table; if it happens again, autovacuum has too few workers.",
        commands=[f"ANALYZE {quoted(name)};" for name in bad],
    )


def judge_large_tables(tables: Sequence[TableFacts]) -> Check:
    """Whether tables that autovacuum would clean too rarely have settings of their own (docs/growth.md)."""
    bad = [table.name for table in tables if table.rows >= LARGE_ROWS and not table.tuned]
    largest = max((table.rows for table in tables), default=0)
    return Check(
        title="Autovacuum of large tables",
        figure=f"the largest has about {counted(largest, 'row')}",
        normal=f"settings of its own from {LARGE_ROWS:,} rows on",
        verdict=Verdict.LOOK if bad else Verdict.OK,
        remedy="Have it cleaned more often: a fifth of such a table is too much at once.",
        commands=[_tune(name) for name in bad],
    )


def _tune(name: str) -> str:
    return (
        f"ALTER TABLE {quoted(name)} SET (autovacuum_vacuum_scale_factor = 0.02, "
        "autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.01);"
    )


def is_scanned(table: TableFacts, counting: timedelta) -> bool:
    """Whether a large table is read from end to end more often than once an hour."""
    scans = table.sequential_scans
    whole = scans and table.sequential_rows / scans >= SCANNED_SHARE * table.rows
    days = max(1.0, counting / _DAY)
    return bool(whole) and table.rows >= SCANNED_ROWS and scans / days >= SCANS_PER_DAY


def judge_scans(tables: Sequence[TableFacts], counting: timedelta) -> Check:
    """Whether statements read large tables whole."""
    bad = [table for table in tables if is_scanned(table, counting)]
    return Check(
        title="Large tables read whole",
        figure=f"{counted(len(bad), 'table')}, {counted(sum(table.sequential_scans for table in bad), 'time')}"
        if bad
        else "none",
        normal=f"below {SCANS_PER_DAY} times a day from {SCANNED_ROWS:,} rows on",
        verdict=Verdict.LOOK if bad else Verdict.OK,
        remedy="Find the statement in pg_stat_statements, and report it if it is one of Watcher's: they use indexes.",
    )


def is_unused(index: IndexFacts, counting: timedelta) -> bool:
    """Whether a large index was never read by, for long enough to say so."""
    return (
        not index.enforces
        and index.scans == 0
        and counting >= UNUSED_DAYS * _DAY
        and (index.size_bytes or 0) >= UNUSED_BYTES
    )


def judge_unused(indexes: Sequence[IndexFacts], counting: timedelta) -> Check:
    """Whether indexes cost more than they give."""
    bad = [index for index in indexes if is_unused(index, counting)]
    total = size_text(sum(index.size_bytes or 0 for index in bad))
    own = own_indexes()
    return Check(
        title="Large indexes that nobody uses",
        figure=f"{counted(len(bad), 'index', 'indexes')}, {total}" if bad else "none",
        normal=f"none of {size_text(UNUSED_BYTES)} or more, after {UNUSED_DAYS} days of counting",
        verdict=Verdict.LOOK if bad else Verdict.OK,
        remedy="Drop what Watcher did not make; its own belong to pages and checks that you may not use yet.",
        commands=[f"DROP INDEX CONCURRENTLY {quoted(index.name)};" for index in bad if index.name not in own],
    )


def judge_valid(indexes: Sequence[IndexFacts]) -> Check:
    """Whether every index was built to its end."""
    bad = [index.name for index in indexes if not index.valid]
    return Check(
        title="Whole indexes",
        figure=f"{len(bad):,} of {len(indexes):,} not whole" if bad else f"all {len(indexes):,}",
        normal="all",
        verdict=Verdict.ACT if bad else Verdict.OK,
        remedy="Build it again: it costs what every index costs, and nothing is read by it.",
        commands=[f"REINDEX INDEX CONCURRENTLY {quoted(name)};" for name in bad],
    )


def counting_for(since: datetime, now: datetime) -> timedelta:
    """For how long the statistics have counted."""
    return max(timedelta(0), now - since)


def own_indexes() -> frozenset[str]:
    """The names of the indexes that Watcher makes, those of keys left out: they are never dropped."""
    tables = Base.metadata.tables.values()
    return frozenset(str(index.name) for table in tables for index in table.indexes)


def own_tables() -> frozenset[str]:
    """The names of Watcher's tables."""
    return frozenset(Base.metadata.tables)


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    plain = name.isascii() and name.isidentifier() and name.islower()
    return name if plain else '"' + name.replace('"', '""') + '"'
