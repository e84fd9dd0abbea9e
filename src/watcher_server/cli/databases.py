"""The database of commands that must also work while nothing runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from watcher_server.cli.checks import require_database
from watcher_server.cli.environment import settings_beside_up
from watcher_server.database.migrate import is_current, migrate
from watcher_server.embedded.services import EmbeddedServices


@contextmanager
def database_for_a_command() -> Iterator[str]:
    """The URL of a database, for the time of a command.

    It is the configured one, else that of a running ``watcher up``, else the embedded PostgreSQL, started for
    the time of the command and brought to this version's tables.

    Raises:
        CommandError: the database cannot be reached.
    """
    settings = settings_beside_up()
    if settings.database_url is not None:
        require_database(settings.database)
        yield settings.database
        return
    with EmbeddedServices(settings.home, valkey=False) as services:
        ensure_migrated(services.database_url)
        yield services.database_url


def ensure_migrated(database_url: str) -> None:
    """Bring the database to this version's tables, if it is not there yet."""
    if not is_current(database_url):
        migrate(database_url)
