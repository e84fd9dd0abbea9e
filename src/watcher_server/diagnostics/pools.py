"""The connections to the database that this api process keeps."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import QueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.database.engine import IngestPool


@dataclass(frozen=True)
class QueryPoolFacts:
    """The pool of pages and of all requests but reports of runs: ``in_use`` of at most ``most`` connections.

    ``size`` of them are kept, ``overflow`` are open beyond those.
    """

    size: int
    most: int
    in_use: int
    overflow: int


@dataclass(frozen=True)
class IngestPoolFacts:
    """The pool that reports of runs have to themselves; counts but ``size`` to ``waiting`` are since its start.

    ``errors`` are requests that got no connection in time, ``lost`` are connections that broke.
    """

    size: int
    most: int
    in_use: int
    waiting: int
    requests: int
    queued: int
    errors: int
    lost: int


def read_query_pool(engine: AsyncEngine) -> QueryPoolFacts:
    """The query pool at this moment."""
    pool = cast("QueuePool", engine.pool)
    # It may open as many again beyond those that it keeps, as create_query_engine says.
    return QueryPoolFacts(pool.size(), 2 * pool.size(), pool.checkedout(), max(0, pool.overflow()))


def read_ingest_pool(pool: IngestPool) -> IngestPoolFacts:
    """The ingest pool at this moment."""
    stats = pool.get_stats()
    return IngestPoolFacts(
        size=stats["pool_size"],
        most=stats["pool_max"],
        in_use=stats["pool_size"] - stats["pool_available"],
        waiting=stats.get("requests_waiting", 0),
        requests=stats.get("requests_num", 0),
        queued=stats.get("requests_queued", 0),
        errors=stats.get("requests_errors", 0),
        lost=stats.get("connections_lost", 0),
    )
