"""Bringing a database to this version's tables."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, text

from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.locks import MIGRATION_LOCK


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


class NewerDatabaseError(Exception):
    """The database was made by a newer Watcher; the message says what to do."""


def head_revision() -> str:
    """The revision that this version of Watcher needs."""
    head = _scripts().get_current_head()
    if head is None:
        raise RuntimeError("the package holds no migrations")
    return head


def current_revision(database_url: str) -> str | None:
    """The revision of the database; None for one without Watcher's tables."""
    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_current(database_url: str) -> bool:
    """Whether the database has the tables of this version."""
    return current_revision(database_url) == head_revision()


def migrate(database_url: str) -> None:
    """Apply the missing migrations in one transaction; a second process that migrates at the same time waits.

    Raises:
        NewerDatabaseError: the database has tables of a newer version, which this one cannot take back.
    """
    revision = current_revision(database_url)
    if revision is not None and revision not in {script.revision for script in _scripts().walk_revisions()}:
        raise NewerDatabaseError(
            f"The database has the tables of a newer Watcher (revision {revision}): run that version, or restore a "
            "backup from before the upgrade."
        )
    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
