"""The connections to the database that this api process keeps, and the checks of them."""

from collections.abc import Mapping
from typing import cast

from sqlalchemy import QueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.database.ingest_pool import IngestPool
from watcher_server.diagnostics.checks import Check, counted, judge_from, look_if


def judge_pools(engine: AsyncEngine, ingest_pool: IngestPool) -> list[Check]:
    """The checks of both pools at this moment."""
    pool = cast("QueuePool", engine.pool)
    query = judge_query_pool(pool.size(), pool.checkedout(), pool.overflow())
    return [query, *judge_ingest_pool(ingest_pool.get_stats())]


def judge_query_pool(size: int, in_use: int, overflow: int) -> Check:
    """The check of the pool of pages and of all requests except reports of runs.

    It keeps ``size`` connections open; ``overflow`` are open beyond those, if it is above zero.
    """
    # create_query_engine lets it open as many again beyond those that it keeps.
    most = 2 * size
    beyond = f", {overflow} of them beyond the {size} that are kept" if overflow > 0 else ""
    return Check(
        "Query pool",
        f"{in_use} of {most} in use{beyond}",
        "below 80 %",
        judge_from(in_use / most, 0.8, 1),
        "See which statements take long, then raise WATCHER_QUERY_POOL_SIZE or WATCHER_API_PROCESSES.",
    )


def judge_ingest_pool(stats: Mapping[str, int]) -> list[Check]:
    """The checks of the pool for reports of runs alone, from its statistics as psycopg names them."""
    most, in_use = stats["pool_max"], stats["pool_size"] - stats["pool_available"]
    waiting, errors = stats.get("requests_waiting", 0), stats.get("requests_errors", 0)
    return [
        Check(
            "Ingest pool",
            # That all connections are in use for a moment is normal.
            f"{in_use} of {most} in use" + (f", {counted(waiting, 'report')} waiting" if waiting else ""),
            f"fewer than {most} reports waiting",
            judge_from(waiting, most, 10 * most),
            "See who waits for locks, then raise WATCHER_INGEST_POOL_SIZE or WATCHER_API_PROCESSES.",
        ),
        Check(
            "Reports without a connection",
            f"{errors:,} of {stats.get('requests_num', 0):,} since this process started",
            "none",
            look_if(errors),
            "They were answered with 503 and may be sent again: the database was away, or the pool is too small.",
        ),
    ]
