"""``watcher up`` as its user meets it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from celery import Celery

from tests.cli.commands import LIMIT_SECONDS, Watcher
from tests.embedded.homes import temporary_home
from watcher_server.database.migrate import migrate
from watcher_server.embedded.running import find_running
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.tasking.sending.broker import redis_client

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests look into /proc")


@pytest.fixture(scope="module")
def _migrated_home() -> Iterator[Path]:
    with temporary_home() as home:
        with EmbeddedServices(home) as services:
            migrate(services.database_url)
        yield home


@pytest.fixture
def used_home(home: Path, _migrated_home: Path) -> None:
    """Make the data folder a copy of one with a migrated database, on which `watcher up` starts in seconds."""
    subprocess.run(["cp", "-a", _migrated_home, home], check=True)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def published_children(home: Path) -> dict[str, int]:
    api, worker = json.loads((home / "run" / "services.json").read_text())["children"]
    return {"api": api, "worker": worker}


def test_ctrl_c_ends_everything_and_the_data_is_there_again_at_the_next_start(watcher: Watcher) -> None:
    up = watcher.up()
    assert watcher.url in up.text
    assert str(watcher.home) in up.text
    assert watcher.get("/health/ready").status_code == 200
    assert watcher.run("token", "create", "kept", "--scope", "read").returncode == 0
    assert up.stop() == 0
    assert watcher.processes() == []
    assert "Traceback" not in up.text
    assert not any(watcher.folder.glob("celerybeat*"))

    again = watcher.up()
    assert "kept" in watcher.run("token", "list").stdout
    assert again.stop(signal.SIGTERM) == 0
    assert watcher.processes() == []


@pytest.mark.usefixtures("used_home")
def test_it_starts_again_after_it_was_killed(watcher: Watcher) -> None:
    watcher.up().process.kill()
    up = watcher.up()
    assert watcher.get("/health/ready").status_code == 200
    assert up.stop() == 0


@pytest.mark.usefixtures("used_home")
def test_killed_it_takes_everything_it_started_along(watcher: Watcher) -> None:
    watcher.up().process.kill()
    watcher.ups[0].process.wait()
    wait_for(lambda: watcher.processes() == [])


@pytest.mark.usefixtures("used_home")
def test_a_second_start_names_the_first(watcher: Watcher) -> None:
    up = watcher.up()
    second = watcher.run("up")
    assert second.returncode == 1
    assert f"process {up.process.pid}" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert watcher.get("/health/ready").status_code == 200


@pytest.mark.usefixtures("used_home")
def test_a_child_that_dies_is_started_again(watcher: Watcher) -> None:
    up = watcher.up()
    before = published_children(watcher.home)
    os.kill(before["worker"], signal.SIGKILL)
    up.wait_for("The worker ended unexpectedly (signal SIGKILL) and was started again.")
    os.kill(before["api"], signal.SIGKILL)
    up.wait_for("The api ended unexpectedly (signal SIGKILL) and was started again.")
    assert up.stop() == 0
    assert watcher.processes() == []


@pytest.mark.usefixtures("used_home")
def test_a_child_that_keeps_dying_ends_it_with_a_sentence(watcher: Watcher) -> None:
    up = watcher.up()
    for deaths in range(1, 5):
        os.kill(published_children(watcher.home)["worker"], signal.SIGKILL)
        up.wait_for_count("was started again", deaths)
    os.kill(published_children(watcher.home)["worker"], signal.SIGKILL)
    up.process.wait(timeout=LIMIT_SECONDS)
    assert up.process.returncode == 1
    assert up.text.rstrip().endswith("or run `watcher worker` by itself.")
    assert watcher.processes() == []


def test_a_taken_port_is_named(watcher: Watcher) -> None:
    with socket.create_server(("127.0.0.1", watcher.port)):
        refused = watcher.run("up")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"watcher: Port {watcher.port} on 127.0.0.1 is already taken: stop what listens there, or set WATCHER_PORT.\n"
    )


def test_data_of_another_version_is_named(watcher: Watcher) -> None:
    (watcher.home / "postgres").mkdir(parents=True)
    watcher.home.chmod(0o755)
    (watcher.home / "postgres" / "PG_VERSION").write_text("16\n")
    refused = watcher.run("up")
    assert refused.returncode == 1
    assert "PostgreSQL 16" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_it_listens_to_others_only_with_a_token(watcher: Watcher) -> None:
    refused = watcher.run("up", host="0.0.0.0")  # noqa: S104 - what is tested
    assert refused.returncode == 1
    assert "watcher token create NAME --scope admin" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert watcher.processes() == []

    token = watcher.run("token", "create", "boss", "--scope", "admin").stdout.strip()
    up = watcher.up(host="0.0.0.0")  # noqa: S104 - what is tested
    assert watcher.get("/pipeline").status_code == 401
    assert watcher.get("/pipeline", token).status_code == 200
    assert up.stop() == 0


@pytest.mark.usefixtures("used_home")
def test_it_can_be_told_to_stay_open(watcher: Watcher) -> None:
    up = watcher.up(host="0.0.0.0", allow_unauthenticated="true")  # noqa: S104 - what is tested
    assert watcher.get("/pipeline").status_code == 200
    assert up.stop() == 0


@pytest.mark.usefixtures("used_home")
def test_a_task_that_an_impatient_stop_drops_is_back_in_its_queue(watcher: Watcher) -> None:
    up = watcher.up()
    running = find_running(watcher.home)
    assert running is not None
    assert running.database_url is not None
    assert running.broker_url is not None
    with (
        closing(psycopg.connect(running.database_url)) as blocker,
        Celery(broker=running.broker_url, set_as_current=False) as app,
        redis_client(running.broker_url) as broker,
    ):
        # The check waits for this lock, as it would for anything slow.
        blocker.execute("LOCK TABLE pipeline IN ACCESS EXCLUSIVE MODE")
        app.send_task("freshness_check_task", queue="celery")
        wait_for(lambda: broker.llen("celery") == 0 and broker.hlen("unacked") > 0)
        up.process.send_signal(signal.SIGINT)
        up.wait_for("Warm shutdown")
        assert up.stop() == 0
    with EmbeddedServices(watcher.home, postgres=False) as services, redis_client(services.broker_url) as broker:
        assert broker.llen("celery") == 1
