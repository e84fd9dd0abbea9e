"""Whether database, migrations and broker are as Watcher needs them."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import redis
from sqlalchemy import column, select, table, text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from watcher_server.database.migrate import VERSION_TABLE, head_revision
from watcher_server.database.version import OldServerError, refuse_old
from watcher_server.tasking.sending.broker import async_redis_client
from watcher_server.tasking.sending.broker_check import lasting_reason, why_unfit


async def check_readiness(engine: AsyncEngine, broker_url: str) -> dict[str, str | None]:
    """By ``database``, ``migrations`` and ``broker``: what is wrong and what to do, or None when all is well.

    Database and broker are asked at the same time, at most two seconds each.
    """
    database, broker = await asyncio.gather(_check_database(engine), _check_broker(broker_url))
    return {**database, "broker": broker}


async def _check_database(engine: AsyncEngine) -> dict[str, str | None]:
    try:
        async with asyncio.timeout(2), engine.connect() as connection:
            refuse_old(await connection.scalar(text("SELECT current_setting('server_version_num')::int")) or 0)
            return {"database": None, "migrations": await _check_migrations(connection)}
    except OldServerError as error:
        reason = str(error)
    except TimeoutError:
        reason = "The database does not answer within 2 seconds."
    except (SQLAlchemyError, OSError):
        # The driver's message names hosts and users, and this answer needs no token.
        reason = "The database cannot be reached: start it, or correct WATCHER_DATABASE_URL."
    return {"database": reason, "migrations": "Not known while the database does not answer."}


async def _check_migrations(connection: AsyncConnection) -> str | None:
    try:
        revision = await connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    except ProgrammingError:
        return "The database has not the tables of this version: run `watcher migrate`."
    if revision == head_revision():
        return None
    return f"The database is at revision {revision}, this version needs {head_revision()}: run `watcher migrate`."


async def _check_broker(broker_url: str) -> str | None:
    client = async_redis_client(broker_url)
    try:
        async with asyncio.timeout(2):
            # It says more than PING does, and every user may ask.
            answer: Awaitable[Any] = client.execute_command("HELLO")  # type: ignore[no-untyped-call]
            return why_unfit(await answer)
    except TimeoutError:
        return "The broker does not answer within 2 seconds."
    except (redis.RedisError, OSError) as error:
        return lasting_reason(error) or "The broker cannot be reached: start it, or correct WATCHER_BROKER_URL."
    finally:
        await client.aclose()
