"""Bringing a database to this version's tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, column, create_engine, select, table, text
from sqlalchemy.exc import ProgrammingError

from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.locks import MIGRATION_LOCK

# A name of its own: another program that uses Alembic may have tables in the same schema.
VERSION_TABLE = "watcher_alembic_version"
# Its name up to version 0.2.
_FORMER_VERSION_TABLE = "alembic_version"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


class NewerDatabaseError(Exception):
    """The database was made by a newer Watcher; the message says what to do."""


class SchemaError(Exception):
    """Watcher's tables cannot be in the schema that the search_path names; the message says what to do."""


@cache
def head_revision() -> str:
    """The revision that this version of Watcher needs; the first call reads all migrations."""
    head = _scripts().get_current_head()
    if head is None:
        raise RuntimeError("the package holds no migrations")
    return head


def current_revision(database_url: str) -> str | None:
    """The revision of the database; None for one without Watcher's tables.

    Raises:
        SchemaError: the tables are in another schema than the one that the search_path puts first, or in none.
    """
    with _connect(database_url) as connection:
        return _read_revision(connection)


def is_current(database_url: str) -> bool:
    """Whether the database has the tables of this version, under their present names."""
    with _connect(database_url) as connection:
        found = _find_tables(connection)
        return found is not None and found.versions == VERSION_TABLE and _read_revision(connection) == head_revision()


def migrate(database_url: str) -> None:
    """Apply the missing migrations in one transaction; a second process that migrates at the same time waits.

    Raises:
        NewerDatabaseError: the database has tables of a newer version, which this one cannot take back.
        SchemaError: there is no schema for the tables, or the role may not make or change them.
    """
    with _connect(database_url) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        _refuse_newer(_read_revision(connection))
        _refuse_strange_schema(connection)
        _take_over_former_name(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _connect(database_url: str) -> Iterator[Connection]:
    try:
        with create_engine(sqlalchemy_url(database_url), poolclass=NullPool).begin() as connection:
            yield connection
    except ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        raise SchemaError(
            f"The role of the database URL lacks a right ({error.orig.diag.message_primary}): run `watcher migrate` as "
            "the owner of Watcher's tables, who may create some in their schema."
        ) from None


class _Found(NamedTuple):
    """The schema that has Watcher's tables, and the name of the table there that says their revision."""

    schema: str
    versions: str


def _find_tables(connection: Connection) -> _Found | None:
    """Watcher's tables on the search_path. The former name counts only beside tables of ours: others use it too."""
    schema = _schema_of(connection, VERSION_TABLE)
    if schema is not None:
        return _Found(schema, VERSION_TABLE)
    schema = _schema_of(connection, "pipeline_execution_closure")
    beside = "to_regclass(format('%I.%I', CAST(:schema AS text), CAST(:name AS text))) IS NOT NULL"
    names = ("anomaly_detection_rule", _FORMER_VERSION_TABLE)
    if schema is None or not all(
        connection.scalar(text(f"SELECT {beside}"), {"schema": schema, "name": name}) for name in names
    ):
        return None
    return _Found(schema, _FORMER_VERSION_TABLE)


def _schema_of(connection: Connection, name: str) -> str | None:
    statement = """
        SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE pg_class.oid = to_regclass(:name)
    """
    found: str | None = connection.scalar(text(statement), {"name": name})
    return found


def _read_revision(connection: Connection) -> str | None:
    found = _find_tables(connection)
    if found is None:
        return None
    first, path = connection.execute(text("SELECT current_schema(), current_setting('search_path')")).one()
    if found.schema != first:
        raise SchemaError(
            f"Watcher's tables are in the schema {found.schema}, and the search_path ({path}) puts {first} first: have "
            "it name only the schema that is meant."
        )
    revision: str | None = connection.scalar(
        select(column("version_num")).select_from(table(found.versions, schema=found.schema))
    )
    return revision


def _refuse_newer(revision: str | None) -> None:
    if revision is not None and revision not in {script.revision for script in _scripts().walk_revisions()}:
        raise NewerDatabaseError(
            f"The database has the tables of a newer Watcher (revision {revision}): run that version, or restore a "
            "backup from before the upgrade."
        )


def _refuse_strange_schema(connection: Connection) -> None:
    first, path, role = connection.execute(
        text("SELECT current_schema(), current_setting('search_path'), current_user")
    ).one()
    if first is None:
        raise SchemaError(
            f"No schema of the search_path ({path}) exists for the role {role}: make one with "
            f"CREATE SCHEMA name AUTHORIZATION {role}, and name it in the URL's options or the role's search_path."
        )
    if not connection.scalar(text("SELECT has_schema_privilege(:schema, 'CREATE')"), {"schema": first}):
        raise SchemaError(
            f"The role {role} may not create tables in the schema {first}: make one of its own with "
            f"CREATE SCHEMA name AUTHORIZATION {role}, and ALTER ROLE {role} SET search_path = name."
        )


def _take_over_former_name(connection: Connection) -> None:
    found = _find_tables(connection)
    if found is not None and found.versions == _FORMER_VERSION_TABLE:
        # The name of the key goes too: it is that of an index, of which a schema has one.
        statement = f"ALTER TABLE {_FORMER_VERSION_TABLE}"
        key = f"RENAME CONSTRAINT {_FORMER_VERSION_TABLE}_pkc TO {VERSION_TABLE}_pkc"
        connection.execute(text(f"{statement} {key}"))
        connection.execute(text(f"{statement} RENAME TO {VERSION_TABLE}"))
