"""Connections: a sync engine for workers and commands, an async one for the api, and the api's ingest pool."""

import os
import time
from functools import cache
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int8Dumper
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from watcher_server.settings import Settings, get_settings

# A connection that was used this recently is not checked before it is used again.
_TRUSTED_SECONDS = 1.0

IngestPool = AsyncConnectionPool[AsyncConnection[TupleRow]]


def sqlalchemy_url(database_url: str) -> str:
    """The URL with the driver that SQLAlchemy is to use: psycopg 3, sync and async."""
    return "postgresql+psycopg://" + database_url.split("://", 1)[1]


# A network that drops packets is noticed within half a minute; TCP alone would take a quarter of an hour. A Unix socket
# ignores these.
CONNECT_OPTIONS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def session_options(*, timeout_seconds: int) -> str:
    """Session settings: UTC as time zone, and a time limit for each statement."""
    return f"-c timezone=UTC -c statement_timeout={timeout_seconds}s"


@cache
def _sync_engine_of(_pid: int) -> Engine:
    settings = get_settings()
    longest = settings.task_time_limit_seconds
    # Below the task's own limit, so that the database gives up before Celery kills the process.
    options = session_options(timeout_seconds=max(1, longest - 10))
    # No task lasts longer. A worker that hangs in a transaction would keep its locks from all others.
    options += f" -c idle_in_transaction_session_timeout={longest}s"
    engine = create_engine(
        sqlalchemy_url(settings.database),
        pool_size=2,
        max_overflow=2,
        connect_args={**CONNECT_OPTIONS, "options": options},
    )
    _ping_after_idling(engine)
    return engine


def _ping_after_idling(engine: Engine) -> None:
    """As ``pool_pre_ping``, but not when the connection was used a moment ago: a task takes it three times."""

    def note_use(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    def ping(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used_at", 0.0) < _TRUSTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            # The pool then opens another.
            raise DisconnectionError("The connection was lost while it was idle.") from error

    event.listen(engine, "checkin", note_use)
    event.listen(engine, "checkout", ping)


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
            **CONNECT_OPTIONS,
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
            **CONNECT_OPTIONS,
            "options": session_options(timeout_seconds=settings.query_timeout_seconds),
        },
    )
