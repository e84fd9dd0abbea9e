"""The commands that work alone."""

import pytest

from tests.cli.commands import Watcher, free_port
from watcher_server.database.migrate import is_current
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


def test_status_says_how_to_start_what_does_not_run(watcher: Watcher) -> None:
    status = watcher.run("status")
    assert status.returncode == 1
    assert "`watcher up`" in status.stderr


def test_status_finds_what_up_runs(watcher: Watcher) -> None:
    watcher.up()
    status = watcher.run("status")
    assert status.returncode == 0, status.stderr
    assert f"{watcher.url} is ready" in status.stdout
    assert "Waiting in queue scheduled" in status.stdout


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


def test_the_api_refuses_a_database_that_is_down(watcher: Watcher) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    refused = watcher.run("api", database_url=nowhere)
    assert refused.returncode == 1
    assert "The database cannot be reached" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_the_api_refuses_a_database_that_was_never_migrated(watcher: Watcher) -> None:
    with EmbeddedServices(watcher.home, valkey=False) as services:
        refused = watcher.run("api", database_url=services.database_url)
    assert refused.returncode == 1
    assert "`watcher migrate`" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_help_and_version_need_nothing(watcher: Watcher) -> None:
    assert "watcher up" in watcher.run("--help").stdout
    assert watcher.run("--version").stdout.startswith("watcher ")
