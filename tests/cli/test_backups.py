"""``watcher backup`` and ``watcher restore``: what was in the database is there again."""

import stat
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.cli.commands import Watcher
from tests.conftest import create_database
from watcher_server.database.migrate import NewerDatabaseError, head_revision, migrate


def _names(watcher: Watcher) -> list[str]:
    return [row["name"] for row in httpx.get(f"{watcher.url}/pipeline").json()]


def _add(watcher: Watcher, name: str) -> None:
    httpx.post(f"{watcher.url}/pipeline", json={"name": name, "pipeline_type_name": "load"}).raise_for_status()


def test_a_backup_is_made_while_watcher_runs_and_restored_when_it_does_not(watcher: Watcher, tmp_path: Path) -> None:
    file = tmp_path / "watcher.backup"
    up = watcher.up()
    _add(watcher, "before")
    backed_up = watcher.run("backup", str(file))
    assert (backed_up.returncode, backed_up.stderr) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    _add(watcher, "after")
    assert "stop `watcher up` first" in watcher.run("restore", str(file)).stderr
    assert "exists already" in watcher.run("backup", str(file)).stderr
    up.stop()

    restored = watcher.run("restore", str(file))
    assert (restored.returncode, restored.stderr) == (0, "")
    assert "_before_" in restored.stdout
    watcher.up()
    assert _names(watcher) == ["before"]
    _add(watcher, "goes on")
    assert _names(watcher) == ["before", "goes on"]


def test_what_is_no_backup_changes_nothing(watcher: Watcher, tmp_path: Path) -> None:
    file = tmp_path / "no.backup"
    file.write_bytes(b"\0" * 4096)
    done = watcher.run("restore", str(file))

    assert done.returncode == 1
    assert done.stderr.startswith("watcher: pg_restore failed: ")
    assert watcher.run("restore", str(tmp_path / "nowhere")).stderr.endswith("does not exist.\n")
    assert watcher.run("token", "list").returncode == 0


@pytest.fixture
def newer_database(worker_id: str) -> str:
    url = create_database(f"watcher_newer_{worker_id}")
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE watcher_alembic_version SET version_num = '9999'")
    return url


def test_a_database_of_a_newer_version_is_refused(newer_database: str, watcher: Watcher) -> None:
    with pytest.raises(NewerDatabaseError, match="newer Watcher"):
        migrate(newer_database)

    done = watcher.run("migrate", database_url=newer_database)
    assert done.returncode == 1
    assert done.stderr.startswith("watcher: The database has the tables of a newer Watcher (revision 9999)")
    assert head_revision() != "9999"
