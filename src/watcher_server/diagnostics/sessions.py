"""The sessions of the database: what they do, which waits for which, and the checks of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from watcher_server.database.locks import KEEPER_LOCK
from watcher_server.diagnostics.checks import Check, counted, judge_from, look_if
from watcher_server.kit.durations import duration_text

# A literal or comment that is cut off goes on to the end. A block comment goes on to the last end of any, because
# comments can be nested, and hiding too much does no harm.
_PARTS = re.compile(
    r"""
    (?P<name>"(?:[^"]|"")*(?:"|\Z))
    | (?P<comment>--[^\n]*|/\*.*\*/|/\*.*\Z)
    | (?P<value>
        \b[eE]'(?:[^'\\]|\\.|'')*(?:'|\\?\Z)
        | '(?:[^']|'')*(?:'|\Z)
        | (?P<dollar>\$(?:[^\W\d]\w*)?\$).*?(?:(?P=dollar)|\Z)
    )
    """,
    re.VERBOSE | re.DOTALL,
)


def mask_statement(statement: str) -> str:
    """The beginning of a statement in one line: no string literals, no comments, at most 200 characters.

    Parameters are not part of a statement as PostgreSQL shows it.
    """
    masked = " ".join(_PARTS.sub(lambda part: part["name"] or (" " if part["comment"] else "'…'"), statement).split())
    return masked if len(masked) <= 200 else masked[:199] + "…"  # noqa: PLR2004 - as said


# Starts and ends of runs of the same pipeline wait for each other for milliseconds.
WAIT_LOOK_SECONDS = 1.0
IDLE_LOOK_SECONDS = 10.0
# An api gives up after WATCHER_QUERY_TIMEOUT_SECONDS (30), a task after WATCHER_TASK_TIME_LIMIT_SECONDS (300).
LONG_LOOK_SECONDS = 60.0


@dataclass(frozen=True)
class LockWait:
    """A session that waits for a lock, and one of the sessions that hold it.

    ``seconds`` is how long it has waited, ``lock`` for what. Statements are masked, and None where this role may not
    see them. The holder's is its last one, which is not always the one that took the lock. ``holder_waits`` says that
    the holder waits for a lock too; ``holder_seconds`` is how long its transaction has lasted.
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
    """The sessions of this database, except the one that reads them.

    ``states`` counts them by state, those hidden from this role as ``hidden``. ``relays`` publish the outbox;
    ``kept`` says that a keeper is at work. Of ``beats`` one sends.
    """

    waits: Sequence[LockWait]
    busy: Sequence[BusySession]
    states: Mapping[str, int]
    relays: int
    kept: bool
    beats: int


# Every role may read pg_locks and pg_blocking_pids. Sessions of other databases are left out.
_WAITS = """
WITH waiting AS MATERIALIZED (
    SELECT DISTINCT ON (lock.pid) lock.pid, lock.waitstart, lock.mode, lock.locktype, lock.relation, session.query
    FROM pg_locks AS lock JOIN pg_stat_activity AS session ON session.pid = lock.pid
    WHERE NOT lock.granted AND session.datname = current_database()
    ORDER BY lock.pid
), longest AS MATERIALIZED (
    SELECT waiting.*, pg_blocking_pids(pid) AS holders FROM waiting ORDER BY waitstart LIMIT 50
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
ORDER BY coalesce(xact_start, query_start), pid LIMIT 50
"""

# pg_locks has the number of an advisory lock in two halves.
_COUNTS = """
SELECT jsonb_object_agg(state, number) AS states, coalesce(sum(relays), 0)::int AS relays,
    coalesce(sum(beats), 0)::int AS beats,
    EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND (classid::bigint << 32 | objid::bigint) = :keeper
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS kept
FROM (
    SELECT coalesce(state, 'hidden') AS state, count(*) AS number,
        count(*) FILTER (WHERE application_name = 'watcher relay') AS relays,
        count(*) FILTER (WHERE application_name = 'watcher beat') AS beats
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND (backend_type = 'client backend' OR query = '<insufficient privilege>')
    GROUP BY 1
) AS counted
"""


async def read_sessions(connection: AsyncConnection) -> Sessions:
    """The sessions as they are now, at most 50 that wait and 50 that are busy."""
    waits = await connection.execute(text(_WAITS))
    busy = await connection.execute(text(_BUSY))
    counts = (await connection.execute(text(_COUNTS), {"keeper": KEEPER_LOCK})).one()
    return Sessions(
        waits=[LockWait(**_masked(row)) for row in waits],
        busy=[BusySession(**_masked(row)) for row in busy],
        states=counts.states or {},
        relays=counts.relays,
        kept=counts.kept,
        beats=counts.beats,
    )


def _masked(row: Row[Any]) -> dict[str, Any]:
    """The columns of a row. Statements are masked, and None where this role may not see them."""
    columns = row._asdict()
    for name in columns.keys() & {"statement", "holder_statement"}:
        hidden = columns[name] in {None, "<insufficient privilege>"}
        columns[name] = None if hidden else mask_statement(columns[name])
    return columns


def judge_sessions(sessions: Sessions) -> list[Check]:
    """The checks of all sessions of this database."""
    waits = sessions.waits
    idle = [session for session in sessions.busy if session.idles]
    active = [session for session in sessions.busy if not session.idles]
    waited, idled, worked = _longest(waits), _longest(idle), _longest(active)
    # A holder that waits for a lock itself goes on once that lock is free.
    holders = {wait.holder for wait in waits if wait.seconds >= WAIT_LOOK_SECONDS and not wait.holder_waits}
    waiting = counted(len({wait.pid for wait in waits}), "session")
    return [
        Check(
            "Waiting for locks",
            f"{waiting}, the longest for {duration_text(waited)}" if waits else "nobody",
            "nobody for 1 s",
            judge_from(waited, WAIT_LOOK_SECONDS, 30),
            "Let the session that holds the lock finish, or end it; the table below says who it is.",
            [f"SELECT pg_terminate_backend({pid});" for pid in sorted(holders)],
        ),
        Check(
            "Idle in transaction",
            f"{counted(len(idle), 'session')}, the longest for {duration_text(idled)}"
            if idle
            else "nobody for more than 1 s",
            "nobody for 10 s: it keeps locks, and dead rows from being cleaned up",
            judge_from(idled, IDLE_LOOK_SECONDS, 300),
            "Commit or roll back in the program that opened it, or end the session.",
            [f"SELECT pg_terminate_backend({old.pid});" for old in idle if old.seconds >= IDLE_LOOK_SECONDS],
        ),
        Check(
            "Longest statement",
            f"{duration_text(worked)}, of {counted(len(active), 'statement')}" if active else "none for more than 1 s",
            "below 60 s",
            judge_from(worked, LONG_LOOK_SECONDS, 600),
            "Let it finish if it is a backup or a migration, else cancel it and see what it waits for.",
            [f"SELECT pg_cancel_backend({old.pid});" for old in active if old.seconds >= LONG_LOOK_SECONDS],
        ),
    ]


def judge_beats(sessions: Sessions) -> Check:
    """The check of the processes that send the scheduled tasks."""
    beats = sessions.beats
    several = "Stop all beats but one: they wait for its end, and do nothing else."
    return Check(
        "Beat",
        f"{beats:,}, of which one sends" if beats > 1 else "one" if beats else "none",
        "one",
        look_if(beats != 1),
        several if beats > 1 else "Start one: without it nothing is checked by schedule.",
        [] if beats > 1 else ["watcher beat"],
    )


def _longest(sessions: Sequence[BusySession | LockWait]) -> float:
    return max((session.seconds for session in sessions), default=0.0)
