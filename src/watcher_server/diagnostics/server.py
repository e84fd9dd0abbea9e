"""What the database server says of itself."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class ServerFacts:
    """The server and this database.

    ``connections`` are those to all databases of the server, of the ``connections_most`` that anybody but a superuser
    may open. Ages are in transactions. Blocks were found in memory (``hit``) or asked of the system (``read``) since
    ``counting_since`` (UTC). ``answer_seconds`` is how long the shortest statement took, ``clock_difference`` by how
    much the database's clock is ahead of this process's. ``hidden_sessions`` of this database belong to others, whose
    statements ``role`` may not see.
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


# Views of statistics, and one row each of pg_database and pg_stat_database: nothing grows with what is stored, but
# that the size is summed over the files of the database.
_SERVER = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
    pg_database_size(database.oid) AS size_bytes,
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


async def read_server(connection: AsyncConnection) -> ServerFacts:
    """The server as it is now."""
    asked_at, began = datetime.now(UTC), time.perf_counter()
    clock: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    answer_seconds = time.perf_counter() - began
    facts = (await connection.execute(text(_SERVER))).one()
    return ServerFacts(
        **facts._asdict(),
        answer_seconds=answer_seconds,
        # It was read about half way between question and answer.
        clock_difference=clock - asked_at - timedelta(seconds=answer_seconds / 2),
    )
