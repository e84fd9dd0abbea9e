"""Which servers Watcher works with."""

import psycopg

# Its statements use what PostgreSQL 16 brought, and its tests run on these.
LOWEST, HIGHEST = 16, 18


class OldServerError(Exception):
    """The PostgreSQL server is too old; the message says what to do."""


def refuse_old(server_version: int) -> None:
    """Pass if a server of that version (``160004`` is 16.4) is new enough.

    Raises:
        OldServerError: it is not.
    """
    major, minor = divmod(server_version, 10_000)
    if major < LOWEST:
        raise OldServerError(
            f"The database server is PostgreSQL {major}.{minor}, and Watcher needs {LOWEST} or newer: upgrade it, or "
            "name another server in WATCHER_DATABASE_URL."
        )


def require_server(database_url: str) -> None:
    """Pass if the server answers and is new enough.

    Raises:
        psycopg.Error: it takes no connection within five seconds.
        OldServerError: it is too old.
    """
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        refuse_old(connection.info.server_version)
