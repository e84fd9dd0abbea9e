"""Whether what Watcher stands on is there."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import cache

import redis
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from watcher_server.database.migrate import head_revision
from watcher_server.queueing.broker import async_redis_client

_LIMIT_SECONDS = 2.0


@dataclass(frozen=True)
class Check:
    """One finding; ``reason`` says what is wrong and what to do, and is None when nothing is."""

    reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.reason is None


_needed_revision = cache(head_revision)


async def check_readiness(engine: AsyncEngine, broker_url: str) -> dict[str, Check]:
    """Ask database and broker at the same time, at most two seconds each."""
    database, broker = await asyncio.gather(_check_database(engine), _check_broker(broker_url))
    return {**database, "broker": broker}


async def _check_database(engine: AsyncEngine) -> dict[str, Check]:
    try:
        async with asyncio.timeout(_LIMIT_SECONDS), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            return {"database": Check(), "migrations": await _check_migrations(connection)}
    except TimeoutError:
        reason = f"The database does not answer within {_LIMIT_SECONDS:.0f} seconds."
    except (SQLAlchemyError, OSError):
        # The driver's own words name hosts and users: they are for the log of a command, not for a stranger.
        reason = "The database cannot be reached: start it, or correct WATCHER_DATABASE_URL."
    return {"database": Check(reason), "migrations": Check("Not known while the database does not answer.")}


async def _check_migrations(connection: AsyncConnection) -> Check:
    try:
        revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    except ProgrammingError:
        return Check("The database has no tables of Watcher: run `watcher migrate`.")
    if revision == _needed_revision():
        return Check()
    return Check(
        f"The database is at revision {revision}, this version needs {_needed_revision()}: run `watcher migrate`."
    )


async def _check_broker(broker_url: str) -> Check:
    client = async_redis_client(broker_url)
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            answer: Awaitable[bool] = client.ping()
            await answer
    except TimeoutError:
        return Check(f"The broker does not answer within {_LIMIT_SECONDS:.0f} seconds.")
    except (redis.RedisError, OSError):
        return Check("The broker cannot be reached: start it, or correct WATCHER_BROKER_URL.")
    finally:
        await client.aclose()
    return Check()
