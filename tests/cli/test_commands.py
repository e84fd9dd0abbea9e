"""The commands that work alone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine

from tests.cli.commands import LIMIT_SECONDS, Watcher, free_port
from tests.support.old_server import server_of_version
from watcher_server.auth.service import create_token
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.migrate import is_current, migrate
from watcher_server.embedded.services import EmbeddedServices


def test_tokens_are_made_listed_and_revoked_while_nothing_runs(watcher: Watcher) -> None:
    made = watcher.run("token", "create", "nightly", "--scope", "write")
    assert made.returncode == 0
    assert len(made.stdout.split()) == 1
    listed = watcher.run("token", "list").stdout
    assert "nightly" in listed
    assert "write" in listed
    assert made.stdout.strip() not in listed
    taken = watcher.run("token", "create", "nightly")
    assert (taken.returncode, len(taken.stderr.splitlines())) == (1, 1)
    assert watcher.run("token", "revoke", "nightly").returncode == 0
    assert watcher.run("token", "revoke", "nightly").returncode == 1
    assert watcher.processes() == []


def test_migrate_brings_a_database_up_to_date_and_can_be_repeated(watcher: Watcher) -> None:
    with EmbeddedServices(watcher.home, valkey=False) as services:
        assert not is_current(services.database_url)
        assert watcher.run("migrate", database_url=services.database_url).returncode == 0
        assert is_current(services.database_url)
    assert watcher.run("migrate").stdout == "The database has this version's tables.\n"


def test_commands_beside_up_find_its_port_unless_they_are_given_one(watcher: Watcher) -> None:
    watcher.up()
    # The demo asks the api before it does anything, and is told that it asks for too much.
    refused = watcher.run_beside("demo", "--warehouse-url", "postgresql://nobody@127.0.0.1:1/none")
    assert refused.returncode == 1
    assert "No Watcher answers" not in refused.stderr
    elsewhere = watcher.run("demo", port=str(free_port()))
    assert "No Watcher answers" in elsewhere.stderr


def test_names_of_tokens_are_shown_as_they_are(watcher: Watcher) -> None:
    names = ["[ci] nightly", "[/x]", "[bold]loud", ":bell:", "back\\slash\\"]
    with EmbeddedServices(watcher.home, valkey=False) as services:
        migrate(services.database_url)
        engine = create_engine(sqlalchemy_url(services.database_url), poolclass=NullPool)
        with engine.begin() as connection:
            for name in names:
                create_token(connection, name, "read")
        listed = watcher.run("token", "list", database_url=services.database_url)
    assert listed.returncode == 0, listed.stderr
    assert [name for name in names if name not in listed.stdout] == []


@pytest.mark.parametrize("command", ["api", "worker", "beat", "status", "migrate"])
def test_a_bad_setting_is_one_sentence(watcher: Watcher, command: str) -> None:
    refused = watcher.run(command, query_timeout_seconds="soon")
    assert refused.returncode == 1
    assert "WATCHER_QUERY_TIMEOUT_SECONDS" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["api", "worker"])
def test_without_a_database_it_says_which_setting_is_missing(watcher: Watcher, command: str) -> None:
    refused = watcher.run(command)
    assert refused.returncode == 1
    assert "WATCHER_DATABASE_URL" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["api", "worker"])
def test_a_database_that_is_down_is_refused(watcher: Watcher, command: str) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    refused = watcher.run(command, database_url=nowhere, broker_url="redis://127.0.0.1:1")
    assert refused.returncode == 1
    assert "The database cannot be reached" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["migrate", "api", "worker", "beat"])
def test_a_database_server_that_is_too_old_is_refused(watcher: Watcher, command: str) -> None:
    with server_of_version("15.4") as old:
        refused = watcher.run(command, database_url=old, broker_url="redis://127.0.0.1:1")
    assert refused.returncode == 1
    assert "PostgreSQL 15.4, and Watcher needs 16 or newer: upgrade it" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["api", "worker"])
def test_a_database_that_was_never_migrated_is_refused(watcher: Watcher, command: str) -> None:
    with EmbeddedServices(watcher.home, valkey=False) as services:
        refused = watcher.run(command, database_url=services.database_url, broker_url="redis://127.0.0.1:1")
    assert refused.returncode == 1
    assert "`watcher migrate`" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_help_and_version_need_nothing(watcher: Watcher) -> None:
    assert "watcher up" in watcher.run("--help").stdout
    assert watcher.run("--version").stdout.startswith("watcher ")


def run_as_nobody_known(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as a user id without an account, as containers have it, and without a home folder."""
    # It may read the Python of this test, which may be in root's home.
    reading = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    command = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", *reading]
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [*command, sys.executable, "-m", "watcher_server.cli.main", *arguments],
        env={**kept, **variables},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


becomes_nobody_known = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root becomes another user, by setpriv"
)


@becomes_nobody_known
@pytest.mark.parametrize(
    "command", ["up", "api", "worker", "beat", "migrate", "status", "demo", "limits", "tasks list"]
)
def test_without_an_account_and_a_home_it_is_one_sentence(command: str) -> None:
    refused = run_as_nobody_known(*command.split())
    assert refused.returncode == 1
    assert re.search("set WATCHER_HOME|set WATCHER_DATABASE_URL|`watcher up`", refused.stderr)
    assert len(refused.stderr.splitlines()) == 1


@becomes_nobody_known
@pytest.mark.parametrize("command", ["up", "status"])
def test_a_home_below_a_home_folder_that_is_not_there_is_one_sentence(command: str) -> None:
    refused = run_as_nobody_known(command, WATCHER_HOME="~/watcher")
    assert refused.returncode == 1
    assert refused.stderr == "watcher: WATCHER_HOME begins with ~, which stands for no folder: write the whole path.\n"


@becomes_nobody_known
def test_without_an_account_a_folder_of_its_own_is_enough(home: Path) -> None:
    home.mkdir()
    os.chown(home, 54321, 54321)
    migrated = run_as_nobody_known("migrate", WATCHER_HOME=str(home))
    if migrated.returncode != 0:
        # A container may forbid the user namespace in which initdb finds a name.
        assert "PostgreSQL needs a name for the user id 54321" in migrated.stderr
        assert len(migrated.stderr.splitlines()) == 1
        return
    assert (home / "postgres" / "PG_VERSION").stat().st_uid == 54321
    assert "There is no task yet" in run_as_nobody_known("tasks", "list", WATCHER_HOME=str(home)).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize(
    "command", ["up", "api", "worker", "beat", "migrate", "status", "demo", "limits", "tasks list"]
)
def test_a_home_of_another_user_is_refused(watcher: Watcher, command: str) -> None:
    run = watcher.home / "run"
    run.mkdir(parents=True)
    os.chown(watcher.home, 54321, 54321)
    refused = watcher.run(*command.split())
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"watcher: {watcher.home} belongs to 54321")
    assert len(refused.stderr.splitlines()) == 1
    assert list(watcher.home.rglob("*")) == [run]
