"""The commands that work alone."""

import pytest
from sqlalchemy import NullPool, create_engine

from tests.cli.commands import Watcher, free_port
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
