"""A worker from its start to its end: what it says of itself, and what it looks after."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from kombu.asynchronous.timer import Timer
from sqlalchemy import Engine, create_engine, text

from tests.conftest import create_database, worker_broker
from tests.support.live import free_port, wait_until, watcher_process
from tests.support.tasks import add_waiting
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.tasking.sending.broker import redis_client
from watcher_server.tasking.workers.lifecycle import Pulse, forget_cancelled

NOWHERE = "redis://127.0.0.1:1/0"
LONGEST_STOP_SECONDS = 30


@dataclass(frozen=True)
class Site:
    """Where a worker is started, and what it leaves behind."""

    engine: Engine
    database_url: str
    broker_url: str
    folder: Path

    def variables(self, **settings: str) -> dict[str, str]:
        return {
            "WATCHER_HOME": str(self.folder),
            "WATCHER_DATABASE_URL": self.database_url,
            "WATCHER_BROKER_URL": self.broker_url,
            "WATCHER_WORKER_METRICS_PORT": "0",
            # A heartbeat a second.
            "WATCHER_LOST_TASK_AFTER_SECONDS": "4",
            **settings,
        }

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @contextmanager
    def worker(self, *arguments: str, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
        variables = self.variables(**settings)
        with watcher_process(["worker", *arguments], variables, self.folder / "log") as process:
            yield process

    def rows(self) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            found = connection.execute(text("SELECT * FROM worker ORDER BY started_at"))
            return [dict(row) for row in found.mappings()]

    def row(self) -> dict[str, Any]:
        """The row of the only worker, once it is there."""
        wait_until(lambda: len(self.rows()) == 1, "the worker's row")
        return self.rows()[0]

    def next_heartbeat(self) -> None:
        before = self.row()["seen_at"]
        wait_until(lambda: self.row()["seen_at"] > before, "the next heartbeat")


@pytest.fixture(scope="module")
def _database(worker_id: str) -> str:
    return create_database(f"watcher_lifecycle_{worker_id}")


@pytest.fixture
def site(_database: str, worker_id: str, tmp_path: Path) -> Iterator[Site]:
    broker_url = worker_broker(worker_id, 2)
    with redis_client(broker_url) as client:
        client.flushdb()
    engine = create_engine(sqlalchemy_url(_database), connect_args={"options": "-c timezone=UTC"})
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE worker, task, outbox"))
    yield Site(engine, _database, broker_url, tmp_path)
    engine.dispose()


def run_one_task(site: Site) -> None:
    with site.engine.begin() as connection:
        task = add_waiting(connection, "redeliver_alerts_task")
    done = text("SELECT count(*) FROM task WHERE id = :id AND state = 'SUCCESS'")
    with site.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        wait_until(lambda: connection.scalar(done, {"id": task}) == 1, "the task's end")


def test_a_worker_says_who_it_is_that_it_lives_and_that_it_stops(site: Site) -> None:
    port = free_port()
    arguments = ["--concurrency", "3", "--queues", "celery,my-own"]
    settings = {"WATCHER_WORKER_METRICS_PORT": str(port)}
    with site.worker(*arguments, **settings) as process:
        row = site.row()
        assert (row["name"], row["host"]) == (f"watcher-{process.pid}@{socket.gethostname()}", socket.gethostname())
        assert (row["pid"], row["queues"], row["stopped_at"]) == (process.pid, ["celery", "my-own"], None)
        assert (row["processes"], row["active"]) == (3, 0)
        assert row["metrics_url"] == f"http://127.0.0.1:{port}"
        site.next_heartbeat()
        wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200, "it being ready")

        process.terminate()
        process.wait(LONGEST_STOP_SECONDS)

    row = site.row()
    assert row["stopped_at"] == row["seen_at"]


def test_celerys_own_command_is_a_worker_like_any_other(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in site.variables().items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "celery", "-A", "src.celery_app", "worker", "--loglevel=info", "--concurrency=1"]
    with (site.folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            run_one_task(site)
            assert site.row()["name"] == f"celery-{process.pid}@{socket.gethostname()}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LONGEST_STOP_SECONDS)
    assert process.returncode == 0
    assert site.row()["stopped_at"]


def test_without_a_broker_it_lives_waits_and_can_be_stopped(site: Site) -> None:
    port = free_port()
    settings = {"WATCHER_BROKER_URL": NOWHERE, "WATCHER_WORKER_METRICS_PORT": str(port)}
    with site.worker(**settings) as process:
        site.next_heartbeat()
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 503

        process.terminate()
        process.wait(LONGEST_STOP_SECONDS)

    assert site.row()["stopped_at"]
    assert "Traceback" not in site.log


def test_it_goes_on_after_the_database_cut_its_connections(site: Site) -> None:
    with site.worker():
        # Nobody else publishes: the relay is in the worker.
        run_one_task(site)
        with site.engine.begin() as connection:
            cut = "datname = current_database() AND pid <> pg_backend_pid() AND application_name <> ''"
            connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {cut}"))
        site.next_heartbeat()
        run_one_task(site)


def test_a_worker_that_is_killed_says_nothing_and_another_start_is_another_worker(site: Site) -> None:
    with site.worker() as process:
        site.row()
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()
    with site.worker():
        wait_until(lambda: len(site.rows()) == 2, "the other worker's row")

    killed, stopped = site.rows()
    assert killed["id"] != stopped["id"]
    assert killed["stopped_at"] is None


def test_a_worker_that_is_killed_takes_its_processes_along(site: Site) -> None:
    with site.worker("--concurrency", "2") as process:
        site.row()
        pool = psutil.Process(process.pid).children()
        # They see nothing of its end by themselves.
        for child in pool:
            child.suspend()
        process.kill()
        _, alive = psutil.wait_procs(pool, timeout=10)

    assert len(pool) == 2
    assert not alive


def test_a_process_of_the_pool_that_is_replaced_does_not_end_the_workers_sessions(site: Site) -> None:
    own = "application_name = 'watcher relay' AND datname = current_database()"
    with site.worker("--concurrency", "1") as process:
        run_one_task(site)
        for _ in range(2):
            (child,) = [one for one in psutil.Process(process.pid).children() if one.is_running()]
            child.terminate()
            run_one_task(site)
        with site.engine.connect() as connection:
            assert connection.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {own}")) == 1
    assert "The outbox waits" not in site.log
    assert "could not be written" not in site.log


def test_a_pulse_beats_while_it_ticks_or_has_nothing_to_tick_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("watcher_server.tasking.workers.lifecycle.time.monotonic", lambda: now)
    pulse = Pulse()
    assert pulse.beats

    pulse.connected = True
    now += 29
    assert pulse.beats
    now += 2
    assert not pulse.beats
    pulse.tick()
    assert pulse.beats

    now += 1000
    pulse.connected = False
    assert pulse.beats


def test_the_loop_is_not_woken_for_the_time_limits_of_tasks_that_have_ended() -> None:
    timer: Any = Timer(max_interval=3600)
    called: list[str] = []
    timer.call_after(0, called.append, ["due"])
    limits = [timer.call_after(300 - number, called.append, ["a limit"]) for number in range(50)]
    timer.call_after(600, called.append, ["much later"])
    calls = iter(timer)
    next(calls)[1]()
    for limit in limits:
        limit.cancel()

    forget_cancelled(timer)

    wait_seconds, entry = next(calls)
    assert (called, entry) == (["due"], None)
    assert wait_seconds > 300
