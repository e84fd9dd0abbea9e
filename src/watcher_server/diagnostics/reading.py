"""Reading everything at once, in a bounded time, from engines that may be away or in trouble."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
import redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from watcher_server.database.engine import IngestPool
from watcher_server.diagnostics.broker import BrokerFacts, read_broker
from watcher_server.diagnostics.pools import IngestPoolFacts, QueryPoolFacts, read_ingest_pool, read_query_pool
from watcher_server.diagnostics.server import ServerFacts, read_server
from watcher_server.diagnostics.sessions import Sessions, read_sessions
from watcher_server.diagnostics.storage import Storage, read_storage
from watcher_server.diagnostics.work import WorkFacts, read_work
from watcher_server.health.service import Check as ReadinessCheck
from watcher_server.health.service import check_readiness
from watcher_server.queue_monitor.depths import QueueState, measure_queues_async
from watcher_server.settings import Settings

logger = logging.getLogger(__name__)

_STATEMENT_SECONDS = 3
_LOCK_SECONDS = 1
# Of everything together; whoever waits for a connection of a pool that has none left is told so by then.
_LIMIT_SECONDS = 4.0
_BROKER_SECONDS = 2.0

_SLOW = "A statement took longer than 3 seconds: see what else the database does, and try again."
_LOCKED = "A table that it reads is locked by another session: see who waits for locks."
_FAILED = "Reading it failed: the log of the api says why."
_GONE = "The database cannot be reached: start it, or correct WATCHER_DATABASE_URL."
_LATE = "There was no answer, or no free connection, within 4 seconds: see the pools, and the load of the database."
_BROKER_GONE = "The broker cannot be reached: start it, or correct WATCHER_BROKER_URL."
_BROKER_LATE = "The broker does not answer within 2 seconds: restart it, or look at the network."

T = TypeVar("T")


@dataclass(frozen=True)
class Unread:
    """What could not be read; ``reason`` says why and what to do."""

    reason: str


@dataclass(frozen=True)
class Findings:
    """Everything that was read at ``taken_at`` (UTC)."""

    taken_at: datetime
    query_pool: QueryPoolFacts
    ingest_pool: IngestPoolFacts
    readiness: dict[str, ReadinessCheck]
    server: ServerFacts | Unread
    storage: Storage | Unread
    sessions: Sessions | Unread
    work: WorkFacts | Unread
    queues: QueueState | Unread
    broker: BrokerFacts | Unread


async def read_everything(engine: AsyncEngine, ingest_pool: IngestPool, settings: Settings) -> Findings:
    """Ask database, broker and this process, in four seconds at most, with three connections of the query pool."""
    pools = read_query_pool(engine), read_ingest_pool(ingest_pool)
    deadline = asyncio.get_running_loop().time() + _LIMIT_SECONDS

    async def attempt(read: Callable[[AsyncConnection], Awaitable[T]]) -> T | Unread:
        return await _attempt(_in_transaction(engine, read), deadline)

    async def server_and_sessions() -> tuple[ServerFacts | Unread, Sessions | Unread]:
        return await attempt(read_server), await attempt(read_sessions)

    async def storage_and_readiness() -> tuple[Storage | Unread, dict[str, ReadinessCheck]]:
        return await attempt(read_storage), await check_readiness(engine, settings.broker)

    async def work_and_queues() -> tuple[WorkFacts | Unread, QueueState | Unread]:
        work = await attempt(lambda connection: connection.run_sync(read_work, settings))
        if isinstance(work, Unread):
            # It reads the same tables, and would wait longer.
            return work, work
        return work, await _attempt(measure_queues_async(engine, settings), deadline)

    (server, sessions), (storage, readiness), (work, queues), broker = await asyncio.gather(
        server_and_sessions(), storage_and_readiness(), work_and_queues(), _attempt_broker(settings.broker)
    )
    return Findings(datetime.now(UTC), *pools, readiness, server, storage, sessions, work, queues, broker)


async def _in_transaction(engine: AsyncEngine, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """What is read in a transaction of its own, in which nothing takes long or waits long."""
    limits = text("SELECT set_config('statement_timeout', :statement, true), set_config('lock_timeout', :lock, true)")
    async with engine.connect() as connection:
        await connection.execute(limits, {"statement": f"{_STATEMENT_SECONDS}s", "lock": f"{_LOCK_SECONDS}s"})
        return await read(connection)


async def _attempt(reading: Awaitable[T], deadline: float) -> T | Unread:
    try:
        async with asyncio.timeout_at(deadline):
            return await reading
    except TimeoutError:
        return Unread(_LATE)
    except (SQLAlchemyError, OSError) as error:
        logger.warning("A part of the diagnosis could not be read: %s: %s", type(error).__name__, error)
        return Unread(_reason(error))


def _reason(error: Exception) -> str:
    # The driver's own words name hosts and users.
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return _LOCKED
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return _SLOW
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return "Watcher's role may not read it: grant it what belongs to Watcher's tables."
    if isinstance(cause, psycopg.errors.UndefinedTable):
        return "The database has not the tables of this version: run `watcher migrate`."
    return _GONE if isinstance(cause, (psycopg.OperationalError, OSError)) else _FAILED


async def _attempt_broker(broker_url: str) -> BrokerFacts | Unread:
    try:
        async with asyncio.timeout(_BROKER_SECONDS):
            return await read_broker(broker_url)
    except (TimeoutError, redis.TimeoutError):
        return Unread(_BROKER_LATE)
    except (redis.RedisError, OSError):
        return Unread(_BROKER_GONE)
