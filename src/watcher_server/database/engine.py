"""Connections: a sync engine for workers and commands, an async one for the api, and the api's ingest pool."""

import os
from functools import cache

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int8Dumper
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from watcher_server.settings import Settings, get_settings

IngestPool = AsyncConnectionPool[AsyncConnection[TupleRow]]


def sqlalchemy_url(database_url: str) -> str:
    """The URL with the driver that SQLAlchemy is to use: psycopg 3, in both worlds."""
    return "postgresql+psycopg://" + database_url.split("://", 1)[1]


def session_options(*, timeout_seconds: int) -> str:
    """Session settings: every session thinks in UTC, and no statement runs for ever."""
    return f"-c timezone=UTC -c statement_timeout={timeout_seconds}s"


@cache
def _sync_engine_of(_pid: int) -> Engine:
    settings = get_settings()
    # Below the task's own limit, so that the database gives up before Celery kills the process.
    timeout = max(1, settings.task_time_limit_seconds - 10)
    return create_engine(
        sqlalchemy_url(settings.database),
        pool_size=2,
        max_overflow=2,
        pool_pre_ping=True,
        connect_args={"options": session_options(timeout_seconds=timeout), "connect_timeout": 10},
    )


def sync_engine() -> Engine:
    """The engine of this process; a forked worker never inherits its parent's connections."""
    return _sync_engine_of(os.getpid())


def create_query_engine(settings: Settings) -> AsyncEngine:
    """The api's engine for everything but the reports of running pipelines."""
    return create_async_engine(
        sqlalchemy_url(settings.database),
        pool_size=settings.query_pool_size,
        max_overflow=settings.query_pool_size,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "options": session_options(timeout_seconds=settings.query_timeout_seconds),
            "connect_timeout": 10,
        },
    )


async def _configure(connection: AsyncConnection[TupleRow]) -> None:
    # psycopg sizes an integer parameter by its value, and a prepared statement is kept per combination of types:
    # one size for all keeps one statement.
    connection.adapters.register_dumper(int, Int8Dumper)


def create_ingest_pool(settings: Settings) -> IngestPool:
    """The pool that starts and ends of executions have to themselves: one statement, one round trip, autocommit.

    A slow page can exhaust the query engine; it cannot keep a pipeline from reporting.
    """
    return AsyncConnectionPool(
        settings.database,
        min_size=min(2, settings.ingest_pool_size),
        max_size=settings.ingest_pool_size,
        timeout=10,
        open=False,
        configure=_configure,
        check=None,
        kwargs={
            "autocommit": True,
            "connect_timeout": 10,
            "options": session_options(timeout_seconds=settings.query_timeout_seconds),
        },
    )
