"""The embedded engines on real data folders."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kombu import Connection

from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.process import command_line
from watcher_server.embedded.running import RunningServices, find_running, publish
from watcher_server.embedded.services import EmbeddedServices

# Enters the services, says so, and stays until it is killed. Told so, it does without the kernel's help, as on
# systems where a child cannot ask to end with its parent.
_HOLD = """
import sys, time
from pathlib import Path
from watcher_server.embedded import process
from watcher_server.embedded.services import EmbeddedServices
if sys.argv[2] == "leaves engines":
    process._libc = None
with EmbeddedServices(Path(sys.argv[1])) as services:
    print(" ".join(str(engine.pid) for engine in services.engines), flush=True)
    time.sleep(600)
"""


def run(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def hold(home: Path, manner: str = "takes engines along") -> tuple[subprocess.Popen[str], list[int]]:
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(home), manner], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    return holder, [int(pid) for pid in holder.stdout.readline().split()]


def test_rows_and_messages_survive_a_stop_and_a_start(home: Path) -> None:
    with EmbeddedServices(home) as services:
        run(services.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        with Connection(services.broker_url) as broker:
            broker.SimpleQueue("kept").put("message")
    with EmbeddedServices(home) as services:
        assert run(services.database_url, "SELECT answer FROM kept") == [(42,)]
        with Connection(services.broker_url) as broker:
            assert broker.SimpleQueue("kept").get(timeout=10).payload == "message"


def test_the_database_is_durable_thinks_in_utc_and_is_not_on_the_network(home: Path) -> None:
    names = ["fsync", "synchronous_commit", "TimeZone", "listen_addresses", "server_encoding"]
    with EmbeddedServices(home, valkey=False) as services:
        shown = [run(services.database_url, f"SHOW {name}")[0][0] for name in names]
    assert shown == ["on", "on", "UTC", "", "UTF8"]


def test_only_their_owner_can_enter_the_data_folders(home: Path) -> None:
    with EmbeddedServices(home):
        modes = {name: stat.S_IMODE((home / name).stat().st_mode) for name in ("postgres", "valkey", "run", "logs")}
    assert set(modes.values()) == {0o700}


def test_data_of_another_major_version_is_left_alone(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    home.chmod(0o755)
    (home / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedError, match=r"PostgreSQL 15 .*`watcher backup FILE`") as caught, EmbeddedServices(home):
        pass
    assert "\n" not in str(caught.value)
    assert list((home / "postgres").iterdir()) == [home / "postgres" / "PG_VERSION"]


def test_a_folder_with_other_peoples_files_is_not_overwritten(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    home.chmod(0o755)
    (home / "postgres" / "letter.txt").write_text("dear")
    with pytest.raises(EmbeddedError, match="not empty"), EmbeddedServices(home, valkey=False):
        pass
    assert (home / "postgres" / "letter.txt").read_text() == "dear"


def test_a_second_start_on_the_same_home_names_the_process_that_runs(home: Path) -> None:
    with (
        EmbeddedServices(home, valkey=False) as services,
        pytest.raises(EmbeddedError, match=f"process {os.getpid()}"),
        EmbeddedServices(home),
    ):
        pass
    assert services.engines[0].pid is None


def test_it_starts_again_after_its_process_was_killed(home: Path) -> None:
    holder, _ = hold(home)
    holder.kill()
    holder.communicate()
    with EmbeddedServices(home) as services:
        assert run(services.database_url, "SELECT 1") == [(1,)]


def test_it_ends_engines_that_a_killed_process_left_running(home: Path) -> None:
    holder, engines = hold(home, "leaves engines")
    holder.kill()
    holder.communicate()
    assert all(str(home) in command_line(pid) for pid in engines)
    with EmbeddedServices(home) as services:
        assert run(services.database_url, "SELECT 1") == [(1,)]
        assert not any(str(home) in command_line(pid) for pid in engines)


def test_it_starts_when_the_old_process_id_is_another_programs_now(home: Path) -> None:
    with EmbeddedServices(home, valkey=False):
        pass
    with subprocess.Popen(["sleep", "600"]) as stranger:
        pid_file = home / "postgres" / "postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{home / 'postgres'}\n1\n5432\n\n\n\n")
        with EmbeddedServices(home, valkey=False) as services:
            assert run(services.database_url, "SELECT 1") == [(1,)]
        assert stranger.poll() is None
        stranger.kill()


def test_a_home_too_deep_for_sockets_gets_a_short_private_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(home.parent))
    deep = home / ("d" * 60) / ("e" * 60)
    with EmbeddedServices(deep) as services:
        assert run(services.database_url, "SELECT 1") == [(1,)]
        folder = Path(services.database_url.partition("host=")[2])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert str(home) not in services.broker_url
        with Connection(services.broker_url) as broker:
            broker.connect()


def test_what_runs_is_found_only_while_it_runs(home: Path) -> None:
    with EmbeddedServices(home, valkey=False) as services:
        published = RunningServices(os.getpid(), database_url=services.database_url)
        publish(services.home, published)
        assert find_running(home) == published
        assert stat.S_IMODE((home / "run" / "services.json").stat().st_mode) == 0o600
    assert find_running(home) is None
