"""The database of commands that also work while nothing runs."""

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, NullPool, create_engine

from watcher_server.audit.acting import Actor, ActorKind, acting_as
from watcher_server.cli.checks import require_database, require_migrations
from watcher_server.cli.errors import CommandError
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.migrate import is_current, migrate
from watcher_server.embedded.running import settings_beside_up
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.kit.errors import ConflictError, NotFoundError


@contextmanager
def database_for_a_command() -> Iterator[str]:
    """The URL of a database, for the time of a command.

    It is the configured one, else that of a running ``watcher up``. Else the embedded PostgreSQL is started for the
    time of the command, and migrated.

    Raises:
        CommandError: the database cannot be reached.
    """
    settings = settings_beside_up()
    if settings.database_url is not None:
        require_database(settings.direct_database)
        yield settings.direct_database
        return
    with EmbeddedServices(settings.home, valkey=False) as services:
        ensure_migrated(services.database_url)
        yield services.database_url


@contextmanager
def command_transaction() -> Iterator[Connection]:
    """A transaction in the database of :func:`database_for_a_command`; what it changes, the user has changed.

    Raises:
        CommandError: the database cannot be reached or lacks tables, or what the user asked for does not exist.
    """
    with command_engine() as engine, engine.begin() as connection:
        yield connection


@contextmanager
def command_engine() -> Iterator[Engine]:
    """An engine on that database, for commands of several transactions; raises as :func:`command_transaction` does."""
    with database_for_a_command() as url:
        require_migrations(url)
        try:
            with acting_as(_operator()):
                yield create_engine(sqlalchemy_url(url), poolclass=NullPool)
        except (NotFoundError, ConflictError) as error:
            raise CommandError(str(error)) from None


def _operator() -> Actor:
    """The user of the operating system: what a shell says of itself could be anything."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"uid {os.getuid()}"
    return Actor(user, ActorKind.CLI, f"{user}@{socket.gethostname()}")


def ensure_migrated(database_url: str) -> None:
    """Bring the database to this version's tables, if it is not there yet."""
    if not is_current(database_url):
        migrate(database_url)
