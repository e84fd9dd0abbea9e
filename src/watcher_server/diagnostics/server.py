"""The database server: what it says of itself, and the checks of it."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from watcher_server.database.version import HIGHEST, LOWEST
from watcher_server.diagnostics.checks import (
    Check,
    Verdict,
    act_if,
    counted,
    judge_from,
    look_if,
    milliseconds_text,
    percent_text,
)
from watcher_server.kit.durations import duration_text
from watcher_server.kit.sizes import size_text


@dataclass(frozen=True)
class ServerFacts:
    """The server and this database.

    ``connections`` are those to all databases of the server, of the ``connections_most`` that users other than
    superusers may open. Ages are in transactions. Blocks were found in memory (``hit``) or asked of the system
    (``read``) since ``counting_since`` (UTC). ``answer_seconds`` is how long the shortest statement took,
    ``clock_difference`` by how much the database's clock is ahead of this process's. ``hidden_sessions`` of this
    database belong to other roles, whose statements ``role`` may not see.
    """

    version: str
    version_number: int
    size_bytes: int
    read_only: bool
    standby: bool
    connections: int
    connections_most: int
    transaction_age: int
    multixact_age: int
    blocks_hit: int
    blocks_read: int
    counting_since: datetime
    autovacuum: bool
    hidden_sessions: int
    role: str
    answer_seconds: float
    clock_difference: timedelta


async def read_server(connection: AsyncConnection) -> ServerFacts:
    """The server as it is now."""
    asked_at, began = datetime.now(UTC), time.perf_counter()
    clock: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    answer_seconds = time.perf_counter() - began
    # This reads views of statistics, and one row each of pg_database and pg_stat_database. Only the size takes longer
    # in a larger database, because it is summed over the files.
    statement = """
        SELECT current_setting('server_version') AS version,
            current_setting('server_version_num')::int AS version_number, pg_database_size(database.oid) AS size_bytes,
            current_setting('default_transaction_read_only')::bool AS read_only, pg_is_in_recovery() AS standby,
            (SELECT sum(numbackends)::int FROM pg_stat_database) AS connections,
            current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                - coalesce(current_setting('reserved_connections', true)::int, 0) AS connections_most,
            age(datfrozenxid) AS transaction_age, mxid_age(datminmxid) AS multixact_age,
            blks_hit AS blocks_hit, blks_read AS blocks_read,
            coalesce(stats_reset, pg_postmaster_start_time()) AS counting_since,
            current_setting('autovacuum')::bool AND current_setting('track_counts')::bool AS autovacuum,
            (SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND query = '<insufficient privilege>') AS hidden_sessions,
            current_user AS role
        FROM pg_database AS database JOIN pg_stat_database AS counted ON counted.datid = database.oid
        WHERE database.datname = current_database()
    """
    return ServerFacts(
        **(await connection.execute(text(statement))).one()._asdict(),
        answer_seconds=answer_seconds,
        # The clock was read about half way between question and answer.
        clock_difference=clock - asked_at - timedelta(seconds=answer_seconds / 2),
    )


def judge_server(server: ServerFacts, migrations: str | None, executions: int) -> list[Check]:
    """The checks of a server that answers; this database has about ``executions`` executions."""
    return [*_judge_fitness(server, migrations), *_judge_load(server, executions)]


def _judge_fitness(server: ServerFacts, migrations: str | None) -> list[Check]:
    major = server.version_number // 10_000
    refusal = "no, transactions are read-only by default" if server.read_only else None
    refusal = "no, it is a standby" if server.standby else refusal
    return [
        Check(
            "Answers",
            f"in {milliseconds_text(server.answer_seconds)}",
            "below 50 ms",
            judge_from(server.answer_seconds, 0.05, 1),
            "Have api and database near each other, and look at the load of both machines.",
        ),
        Check(
            "Version",
            f"PostgreSQL {server.version.partition(' ')[0]}",
            f"{LOWEST} to {HIGHEST}",
            Verdict.ACT if major < LOWEST else look_if(major > HIGHEST),
            f"Use PostgreSQL {LOWEST} to {HIGHEST}: Watcher is tested with these.",
        ),
        Check(
            "Migrations",
            "none is missing" if migrations is None else "not at the revision of this version",
            "none is missing",
            act_if(migrations is not None),
            migrations or "Bring the tables to this version; running it twice does no harm.",
            ["watcher migrate"],
        ),
        Check(
            "Can be written",
            refusal or "yes",
            "yes",
            act_if(refusal),
            "Point WATCHER_DATABASE_URL at the primary, and switch default_transaction_read_only off.",
            [] if server.standby else ["ALTER ROLE CURRENT_USER RESET default_transaction_read_only;"],
        ),
    ]


def _judge_load(server: ServerFacts, executions: int) -> list[Check]:
    oldest = max(server.transaction_age, server.multixact_age)
    blocks = server.blocks_hit + server.blocks_read
    hit = server.blocks_hit / blocks if blocks else 1.0
    apart = abs(server.clock_difference.total_seconds())
    hidden, role = server.hidden_sessions, server.role.replace('"', '""')
    # With fewer executions the empty tables dominate the size.
    each = server.size_bytes / executions if executions >= 100_000 else 0.0  # noqa: PLR2004
    per_execution = f", {size_text(round(each))} for each of about {executions:,} executions" if each else ""
    return [
        Check(
            "Connections",
            f"{server.connections:,} of {server.connections_most:,}",
            "below 80 %",
            judge_from(server.connections / max(1, server.connections_most), 0.8, 0.95),
            "Raise max_connections, or lower WATCHER_QUERY_POOL_SIZE, WATCHER_INGEST_POOL_SIZE and the number of "
            "api and worker processes.",
        ),
        Check(
            "Age of transaction ids",
            f"{oldest:,} transactions",
            # Autovacuum begins to prevent it at 200,000,000.
            "below 500,000,000; PostgreSQL stops writing at 2,000,000,000",
            judge_from(oldest, 500_000_000, 1_000_000_000),
            "End the oldest open transactions and unused replication slots, then have everything vacuumed.",
            ["vacuumdb --all --freeze --jobs 2"],
        ),
        Check(
            "Found in memory",
            f"{percent_text(hit)} of {blocks:,} blocks",
            # A server that just started has read every block once from the disk.
            "above 95 %, once 1,000,000 blocks were read",
            look_if(blocks >= 1_000_000 and hit < 0.95),  # noqa: PLR2004
            "Give PostgreSQL memory for a month of executions: raise shared_buffers to a quarter of the machine's.",
            ["ALTER SYSTEM SET shared_buffers = '4GB';  -- then restart PostgreSQL"],
        ),
        Check(
            "Clocks of api and database",
            f"{milliseconds_text(apart) if apart < 1 else duration_text(apart)} apart",
            "below 2 s",
            judge_from(apart, 2, 30),
            "Have both machines set their clocks by NTP: times of runs come from one, deadlines from the other.",
            ["timedatectl set-ntp true"],
        ),
        Check(
            "What Watcher may see",
            f"{counted(hidden, 'session')} of other roles hidden" if hidden else "every session of this database",
            "every session; a hidden one may hold locks unseen",
            look_if(hidden),
            "Have a superuser let Watcher's role see statistics; nothing else depends on it.",
            [f'GRANT pg_monitor TO "{role}";'],
        ),
        Check(
            "Size",
            f"{size_text(server.size_bytes)}{per_execution}",
            # The figures of a usual database are in docs/growth.md.
            "below 4.0 KiB for each execution, 460 bytes without metadata and lineage",
            judge_from(each, 4096),
            "See which table is the largest: metadata may be heavy, or space may be kept by what was deleted.",
        ),
    ]
