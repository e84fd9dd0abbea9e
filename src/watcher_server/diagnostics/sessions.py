"""Who is at work in the database, and who waits for whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from watcher_server.database.locks import KEEPER_LOCK
from watcher_server.diagnostics.masking import mask_statement

_MOST = 50


@dataclass(frozen=True)
class LockWait:
    """A session that waits, and one of those that it waits for.

    ``seconds`` is how long it has waited, ``lock`` for what. Statements are masked, and None where this role may not
    see them; that of the holder is its last one, which is not always the one that took the lock. A holder that waits
    itself is ``holder_waits``; ``holder_seconds`` is how long its transaction has lasted.
    """

    pid: int
    seconds: float
    lock: str
    statement: str | None
    holder: int
    holder_state: str | None
    holder_seconds: float | None
    holder_waits: bool
    holder_statement: str | None


@dataclass(frozen=True)
class BusySession:
    """A session that has been in an open transaction or statement for a second or more; ``seconds`` is how long."""

    pid: int
    program: str
    state: str
    seconds: float
    transaction_seconds: float
    statement: str

    @property
    def idles(self) -> bool:
        """Whether its transaction is open and does nothing."""
        return self.state.startswith("idle in transaction")


@dataclass(frozen=True)
class Sessions:
    """The sessions of this database but the one that asks.

    ``states`` counts them by state, those hidden from this role as ``hidden``. ``relays`` publish the outbox;
    ``kept`` says that a keeper is at work.
    """

    waits: Sequence[LockWait]
    busy: Sequence[BusySession]
    states: Mapping[str, int]
    relays: int
    kept: bool


# pg_locks and pg_blocking_pids may be read by everybody; whom a lock in another database keeps waiting is not ours.
_WAITS = """
WITH waiting AS MATERIALIZED (
    SELECT DISTINCT ON (lock.pid) lock.pid, lock.waitstart, lock.mode, lock.locktype, lock.relation, session.query
    FROM pg_locks AS lock JOIN pg_stat_activity AS session ON session.pid = lock.pid
    WHERE NOT lock.granted AND session.datname = current_database()
    ORDER BY lock.pid
), longest AS MATERIALIZED (
    SELECT waiting.*, pg_blocking_pids(pid) AS holders FROM waiting ORDER BY waitstart LIMIT :most
)
SELECT longest.pid, coalesce(extract(epoch FROM clock_timestamp() - waitstart), 0)::float8 AS seconds,
    concat_ws(' of ', mode, coalesce(pg_class.relname, locktype)) AS lock, longest.query AS statement,
    holder.pid AS holder, holder.state AS holder_state,
    extract(epoch FROM clock_timestamp() - holder.xact_start)::float8 AS holder_seconds,
    EXISTS (SELECT FROM waiting AS other WHERE other.pid = holder.pid) AS holder_waits,
    holder.query AS holder_statement
FROM longest
CROSS JOIN LATERAL unnest(holders) AS held (pid)
JOIN pg_stat_activity AS holder ON holder.pid = held.pid
LEFT JOIN pg_class ON pg_class.oid = longest.relation
ORDER BY waitstart, longest.pid, holder.pid
"""

_BUSY = """
SELECT pid, application_name AS program, state,
    extract(epoch FROM clock_timestamp() - CASE WHEN state = 'active' THEN query_start ELSE state_change END)::float8
        AS seconds,
    extract(epoch FROM clock_timestamp() - coalesce(xact_start, query_start))::float8 AS transaction_seconds,
    query AS statement
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND state IN ('active', 'idle in transaction', 'idle in transaction (aborted)')
    AND CASE WHEN state = 'active' THEN query_start ELSE state_change END < clock_timestamp() - interval '1 second'
ORDER BY coalesce(xact_start, query_start), pid LIMIT :most
"""

# The lock's number is kept as its two halves.
_COUNTS = """
SELECT jsonb_object_agg(state, number) AS states, coalesce(sum(relays), 0)::int AS relays,
    EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND (classid::bigint << 32 | objid::bigint) = :keeper
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS kept
FROM (
    SELECT coalesce(state, 'hidden') AS state, count(*) AS number,
        count(*) FILTER (WHERE application_name = 'watcher relay') AS relays
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND (backend_type = 'client backend' OR query = '<insufficient privilege>')
    GROUP BY 1
) AS counted
"""


async def read_sessions(connection: AsyncConnection) -> Sessions:
    """The sessions as they are now; of a view as long as 50 waiting and 50 busy ones."""
    waits = await connection.execute(text(_WAITS), {"most": _MOST})
    busy = await connection.execute(text(_BUSY), {"most": _MOST})
    counts = (await connection.execute(text(_COUNTS), {"keeper": KEEPER_LOCK})).one()
    return Sessions(
        waits=[_wait(row) for row in waits],
        busy=[BusySession(**{**row._asdict(), "statement": mask_statement(row.statement)}) for row in busy],
        states=counts.states or {},
        relays=counts.relays,
        kept=counts.kept,
    )


def _wait(row: Row[Any]) -> LockWait:
    statements = {name: _visible(getattr(row, name)) for name in ("statement", "holder_statement")}
    return LockWait(**{**row._asdict(), **statements})


def _visible(statement: str | None) -> str | None:
    return None if statement in {None, "<insufficient privilege>"} else mask_statement(str(statement))
