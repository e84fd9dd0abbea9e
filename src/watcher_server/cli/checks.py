"""Checks before a process starts; each failure is one sentence that says what to do."""

import errno
import socket
from contextlib import suppress

import psycopg
import redis
from sqlalchemy import NullPool, create_engine

from watcher_server.auth.network import is_loopback
from watcher_server.auth.service import has_tokens
from watcher_server.cli.errors import CommandError
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.migrate import is_current
from watcher_server.database.version import require_server
from watcher_server.settings import Settings
from watcher_server.tasking.sending.broker_check import require_broker

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def require_free_port(host: str, port: int) -> None:
    """Raise CommandError when nothing could listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server does: connections that are still closing do not make a port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise CommandError(_why_not_listening(host, port, error)) from error


def _why_not_listening(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is already taken: stop what listens there, or set WATCHER_PORT."
    if error.errno == errno.EACCES:
        return f"Port {port} on {host} is for root only: set WATCHER_PORT to 1024 or higher."
    return f"Nothing can listen on {host} ({error.strerror}): set WATCHER_HOST to an address of this machine."


def require_database(database_url: str, direct_url: str | None = None) -> None:
    """Pass if the database can be used, by both URLs where there is a direct one.

    Raises:
        CommandError: it takes no connection within five seconds.
        OldServerError: its server is too old.
        PoolerError: it is behind a pooler in a way that cannot work.
    """
    try:
        require_server(database_url, direct_url)
    except psycopg.Error as error:
        reason = next(iter(str(error).splitlines()), "no reason given").rstrip(".")
        raise CommandError(
            f"The database cannot be reached ({reason}): start it, or correct WATCHER_DATABASE_URL."
        ) from error


def require_fit_broker(broker_url: str) -> None:
    """Pass if the broker can be used, or is away: reports need none, and workers wait for it.

    Raises:
        UnfitBrokerError: it answers and cannot be used.
    """
    with suppress(redis.RedisError, OSError):
        require_broker(broker_url)


def require_migrations(database_url: str) -> None:
    """Raise CommandError when the database lacks tables of this version."""
    if not is_current(database_url):
        raise CommandError("The database is not at this version's tables: run `watcher migrate` first.")


def require_tokens_for_strangers(settings: Settings, database_url: str) -> None:
    """Raise CommandError when the network would reach an api that has no tokens, and is not told what to do then."""
    if is_loopback(settings.host) or settings.allow_unauthenticated or settings.asks_always:
        return
    with create_engine(sqlalchemy_url(database_url), poolclass=NullPool).connect() as connection:
        if has_tokens(connection):
            return
    raise CommandError(
        f"Listening on {settings.host} would let everybody in: make a token first with "
        "`watcher token create NAME --scope admin`, or set WATCHER_ALLOW_UNAUTHENTICATED=true."
    )


def log_level(settings: Settings) -> str:
    """WATCHER_LOG_LEVEL in capitals; raises CommandError if it is no level."""
    level = settings.log_level.upper()
    if level not in LOG_LEVELS:
        raise CommandError(f"WATCHER_LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}.")
    return level
