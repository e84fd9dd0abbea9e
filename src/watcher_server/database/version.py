"""Which servers, and which ways to them, Watcher works with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from watcher_server.database.engine import connect_parameters
from watcher_server.kit.libpq import libpq_parameters

# Its statements use what PostgreSQL 16 brought, and its tests run on these.
LOWEST, HIGHEST = 16, 18
# A pooler in transaction mode shows itself at the first look, unless other clients take its sessions meanwhile.
_LOOKS = 5


class OldServerError(Exception):
    """The PostgreSQL server is too old; the message says what to do."""


class PoolerError(Exception):
    """A pooler stands before the database in a way that cannot work; the message says what to do."""


def refuse_old(server_version: int) -> None:
    """Pass if a server of that version (``160004`` is 16.4) is new enough; raises OldServerError if it is not."""
    major, minor = divmod(server_version, 10_000)
    if major < LOWEST:
        raise OldServerError(
            f"The database server is PostgreSQL {major}.{minor}, and Watcher needs {LOWEST} or newer: upgrade it, or "
            "name another server in WATCHER_DATABASE_URL."
        )


def require_server(database_url: str, direct_url: str | None = None) -> None:
    """Pass if the server answers and is new enough, and no pooler takes away what Watcher needs.

    With a ``direct_url``, a pooler before ``database_url`` may give its sessions to others after each transaction.

    Raises:
        psycopg.Error: it takes no connection within five seconds.
        OldServerError: it is too old.
        PoolerError: a pooler drops the URL's options, shares sessions, or leads to other tables than the direct URL.
    """
    name = "WATCHER_DATABASE_URL" if direct_url is None else "WATCHER_DATABASE_DIRECT_URL"
    url = direct_url or database_url
    with _connect(url, name) as connection:
        refuse_old(connection.info.server_version)
        place = _place(connection)
        if _is_pooled(connection) and _shares_sessions(connection, url):
            raise PoolerError(
                f"{name} leads through a pooler in transaction mode: set WATCHER_DATABASE_DIRECT_URL to the server "
                "behind it, or use its session mode."
            )
    if direct_url is not None:
        with _connect(database_url, "WATCHER_DATABASE_URL") as connection:
            _refuse_other_place(place, _place(connection))


@contextmanager
def _connect(url: str, name: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection on autocommit, if it has the options that the URL names."""
    refusal = PoolerError(
        f"The pooler of {name} takes no `options`: leave them out, and give the schema to the role instead "
        "(ALTER ROLE name SET search_path = schema)."
    )
    try:
        connection = psycopg.connect(**connect_parameters(url, connect_timeout=5), autocommit=True)
    except psycopg.OperationalError as error:
        if "unsupported startup parameter" in str(error):
            raise refusal from None
        raise
    with connection:
        if "options" in libpq_parameters(url) and _is_pooled(connection):
            # A pooler that is told to ignore them takes them, and drops them.
            raise refusal
        yield connection


def _is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler stands between: it gives its clients other numbers than those of the server's sessions."""
    return _session(connection) != connection.info.backend_pid


def _session(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def _shares_sessions(one: psycopg.Connection[Any], url: str) -> bool:
    """Whether two connections use one session, or one connection uses two: so it is in transaction mode."""
    with psycopg.connect(**connect_parameters(url, connect_timeout=5), autocommit=True) as other:
        for _ in range(_LOOKS):
            used = _session(one)
            # The transaction keeps its session from the other connection.
            with other.transaction():
                if _session(other) == used or _session(one) != used:
                    return True
    return False


def _place(connection: psycopg.Connection[Any]) -> tuple[Any, ...]:
    row = connection.execute(
        "SELECT pg_postmaster_start_time(), current_database(), coalesce(current_schema(), 'no schema')"
    ).fetchone()
    return tuple(row or ())


def _refuse_other_place(direct: tuple[Any, ...], pooled: tuple[Any, ...]) -> None:
    if direct == pooled:
        return
    if direct[1:] == pooled[1:]:
        raise PoolerError(
            "WATCHER_DATABASE_URL and WATCHER_DATABASE_DIRECT_URL lead to different servers: have the pooler and the "
            "direct URL name the primary."
        )
    raise PoolerError(
        f"WATCHER_DATABASE_URL leads to {'.'.join(pooled[1:])} and WATCHER_DATABASE_DIRECT_URL to "
        f"{'.'.join(direct[1:])}: name the same database, and give the schema to the role (ALTER ROLE name SET "
        "search_path = schema)."
    )
