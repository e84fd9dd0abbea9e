"""Connections: a sync engine for workers and commands, an async one for the api, and the api's ingest pool.

libpq alone reads the URLs. What a session is told (time zone, time limits) is told by a statement after connecting, and
not by the parameter ``options``: that one belongs to the URL, and poolers refuse it.
"""

import os
import time
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import psycopg
from psycopg import AsyncConnection, _queries
from psycopg.conninfo import make_conninfo
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int8Dumper
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from watcher_server.database.ingest_pool import IngestConnection, IngestPool
from watcher_server.kit.libpq import libpq_parameters
from watcher_server.settings import Settings, get_settings

# A connection that was used this recently is not checked before it is used again.
_TRUSTED_SECONDS = 1.0

# psycopg parses a statement anew for each of its executions if it is longer than 4,096 characters, for such statements
# are mostly generated and never come again. Those of Watcher are written out and come again. To a psycopg without this
# name, it makes no difference.
_queries.MAX_CACHED_STATEMENT_LENGTH = 16_384

# A network that drops packets is noticed within half a minute; TCP alone would take a quarter of an hour. A Unix socket
# ignores these.
_CONNECT_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# Of several hosts one may be gone, which must not keep the next from being asked, and one may be a standby, which
# could not be written.
_SEVERAL_HOSTS: dict[str, Any] = {"connect_timeout": 3, "target_session_attrs": "read-write"}

_SET = "SELECT set_config(name, value, %s) FROM unnest(%s::text[], %s::text[]) AS setting (name, value)"
# A pooler that gives a session to another client with each transaction keeps this setting for each client.
_KEPT_BY_POOLERS = frozenset({"timezone"})


def connect_parameters(database_url: str, **own: Any) -> dict[str, Any]:
    """The parameters of a connection, for psycopg: Watcher's defaults, what the URL says, and ``own`` above all."""
    given = libpq_parameters(database_url)
    several = _SEVERAL_HOSTS if "," in given.get("host", given.get("hostaddr", "")) else {}
    return {**_CONNECT_DEFAULTS, **several, **given, **own}


def sqlalchemy_url(database_url: str) -> URL:
    """The URL for SQLAlchemy, sync and async: psycopg 3, and everything else as libpq reads it.

    The password stands apart, so that SQLAlchemy hides it where it shows the URL.
    """
    parameters = connect_parameters(database_url)
    password = parameters.pop("password", None)
    return URL.create("postgresql+psycopg", password=password, query={"conninfo": make_conninfo(**parameters)})


def session_settings(*, timeout_seconds: int) -> dict[str, str]:
    """What every session is told: UTC as time zone, and a time limit for each statement."""
    return {"timezone": "UTC", "statement_timeout": f"{timeout_seconds}s"}


def tell_session(connection: psycopg.Connection[Any], settings: Mapping[str, str]) -> None:
    """Have the settings hold as long as the session of this connection, which is on autocommit."""
    connection.execute(_SET, [False, list(settings), list(settings.values())])


def database_engine(
    database_url: str,
    settings: Mapping[str, str],
    *,
    pooled: bool = False,
    application_name: str | None = None,
    **options: Any,
) -> Engine:
    """An engine whose sessions have these settings; ``pooled`` is that of :func:`_prepare`."""
    engine = create_engine(
        sqlalchemy_url(database_url), connect_args=_connect_args(pooled=pooled, name=application_name), **options
    )
    _prepare(engine, settings, pooled=pooled)
    return engine


def _connect_args(*, pooled: bool, name: str | None = None) -> dict[str, Any]:
    named = {} if name is None else {"application_name": name}
    # A prepared statement is in the session that prepared it, and the next transaction may run in another.
    return {**named, "prepare_threshold": None} if pooled else named


def _prepare(engine: Engine, settings: Mapping[str, str], *, pooled: bool) -> None:
    """Give each connection the settings, and leave those whose server has become read-only.

    ``pooled``: a pooler may give the session to others after each transaction, so that each transaction is told anew.
    """
    lasting = {name: value for name, value in settings.items() if not pooled or name in _KEPT_BY_POOLERS}
    passing = {name: value for name, value in settings.items() if name not in lasting}
    event.listen(engine, "connect", partial(_set_on_connect, lasting))
    if passing:
        event.listen(engine, "begin", partial(_set_on_begin, passing))
    event.listen(engine, "handle_error", _leave_if_read_only, retval=True)


def _set_on_connect(settings: Mapping[str, str], connection: Any, _record: Any) -> None:
    # On autocommit it is one round trip; in a transaction that is rolled back it would not last.
    before, connection.autocommit = connection.autocommit, True
    cursor = connection.cursor()
    cursor.execute(_SET, [False, list(settings), list(settings.values())])
    cursor.close()
    connection.autocommit = before


def _set_on_begin(settings: Mapping[str, str], connection: Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    # Outside of a transaction there is nothing that it could hold for.
    if not driver.autocommit:
        connection.exec_driver_sql(_SET, (True, list(settings), list(settings.values())))


def _leave_if_read_only(context: ExceptionContext) -> Exception | None:
    """Close the connections of a server that has become a standby or read-only: the next ones may find its successor.

    The error is one that passes, so a task is tried again.
    """
    error = context.original_exception
    if not isinstance(error, ReadOnlySqlTransaction):
        return None
    context.is_disconnect = True
    return OperationalError(context.statement, None, error, hide_parameters=True, connection_invalidated=True)


def require_writable(connection: Connection) -> None:
    """Pass if the session of this connection can write: a lock on a former primary keeps no process from leading.

    Raises:
        DisconnectionError: it cannot.
    """
    if connection.scalar(text("SELECT current_setting('transaction_read_only')::bool")):
        raise DisconnectionError("The database takes no writes.")


@cache
def _sync_engine_of(_pid: int) -> Engine:
    settings = get_settings()
    longest = settings.task_time_limit_seconds
    told = {
        # Below the task's own limit, so that the database gives up before Celery kills the process.
        **session_settings(timeout_seconds=max(1, longest - 10)),
        # No task lasts longer. A worker that hangs in a transaction would keep its locks from all others.
        "idle_in_transaction_session_timeout": f"{longest}s",
    }
    engine = database_engine(settings.database, told, pooled=settings.pooled, pool_size=2, max_overflow=2)
    ping_after_idling(engine)
    return engine


def ping_after_idling(engine: Engine) -> None:
    """As ``pool_pre_ping``, but not when the connection was used a moment ago: a task takes it three times.

    For keepers the same: they do several duties one after the other.
    """

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


def autocommit() -> Connection:
    """A connection on which each statement is its own transaction, and takes one round trip instead of three."""
    return sync_engine().connect().execution_options(isolation_level="AUTOCOMMIT")


def create_query_engine(settings: Settings) -> AsyncEngine:
    """The api's engine for everything but the reports of running pipelines."""
    engine = create_async_engine(
        sqlalchemy_url(settings.database),
        pool_size=settings.query_pool_size,
        max_overflow=settings.query_pool_size,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args=_connect_args(pooled=settings.pooled),
    )
    told = session_settings(timeout_seconds=settings.query_timeout_seconds)
    _prepare(engine.sync_engine, told, pooled=settings.pooled)
    return engine


# Every statement of the hot path finds its rows by an index. A connection keeps the plan that it made for a statement,
# and one made while the tables were small would go on to read them whole.
_BY_INDEX = {"enable_seqscan": "off", "jit": "off"}


async def _configure(settings: Mapping[str, str], connection: AsyncConnection[TupleRow]) -> None:
    # psycopg sizes an integer parameter by its value, and a prepared statement is kept per combination of types:
    # one size for all keeps one statement.
    connection.adapters.register_dumper(int, Int8Dumper)
    await connection.execute(_SET, [False, list(settings), list(settings.values())])


def create_ingest_pool(settings: Settings) -> IngestPool:
    """The pool for what pipelines send with each run: one statement, one round trip, autocommit.

    A slow page can exhaust the query engine; it cannot keep a pipeline from reporting. Through a pooler a statement has
    the time limit of the role, because another one would cost a round trip each time.
    """
    told = session_settings(timeout_seconds=settings.query_timeout_seconds) | _BY_INDEX
    lasting = {name: value for name, value in told.items() if not settings.pooled or name in _KEPT_BY_POOLERS}
    return IngestPool(
        connection_class=IngestConnection,
        min_size=min(2, settings.ingest_pool_size),
        max_size=settings.ingest_pool_size,
        timeout=10,
        # After a burst a connection is closed in each such time in which it was not needed. Its session may have 5 MB.
        max_idle=10,
        open=False,
        configure=partial(_configure, lasting),
        check=None,
        kwargs={**connect_parameters(settings.database), **_connect_args(pooled=settings.pooled), "autocommit": True},
        # The pauses between tries double up to this, and then the pool begins anew: once the database is back, it is
        # found within two seconds.
        reconnect_timeout=5,
        reconnect_failed=AsyncConnectionPool.check,
    )
