"""The engines of a benchmark, and Watcher's processes on them."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from tests.support.live import wait_until, watcher_process
from watcher_server.database.migrate import migrate
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.tasking.sending.broker import redis_client

START_SECONDS = 60


@contextmanager
def engines() -> Iterator[EmbeddedServices]:
    """PostgreSQL and Valkey on a folder of their own, named in the environment of every process started here."""
    home = Path(tempfile.mkdtemp(prefix="watcher-bench-"))
    home.chmod(0o755)
    try:
        with EmbeddedServices(home) as services:
            migrate(services.database_url)
            os.environ["WATCHER_HOME"] = str(home)
            os.environ["WATCHER_DATABASE_URL"] = services.database_url
            os.environ["WATCHER_BROKER_URL"] = services.broker_url
            yield services
    finally:
        shutil.rmtree(home, ignore_errors=True)


def empty_tables(database_url: str, *, pipelines: int, judged: bool = False) -> None:
    """The same start for every measurement: this number of pipelines, with a rule each if they are judged, no more."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE pipeline_type, pipeline, pipeline_execution, outbox RESTART IDENTITY CASCADE")
        connection.execute(
            "TRUNCATE pipeline_execution_closure, task, daily_pipeline_metric, daily_pipeline_metric_change"
        )
        connection.execute(
            "UPDATE daily_pipeline_metric_progress SET watched_before = '-infinity', summed_before = '-infinity'"
        )
        connection.execute("INSERT INTO pipeline_type (name) VALUES ('bench')")
        connection.execute(
            "INSERT INTO pipeline (name, pipeline_type_id) SELECT 'bench ' || n, 1 FROM generate_series(1, %s) AS n",
            [pipelines],
        )
        if judged:
            connection.execute(
                "INSERT INTO anomaly_detection_rule (pipeline_id, metric_field) SELECT id, 'total_rows' FROM pipeline"
            )
        settle(connection)


def empty_broker(broker_url: str) -> None:
    """Forget messages and paces of the measurement before; nothing may run on the broker."""
    with redis_client(broker_url) as broker:
        broker.flushdb()


def settle(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Have vacuum, statistics and the checkpoint done before the measurement, not in it."""
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


@contextmanager
def watcher_api(port: int, folder: Path, *, processes: int, **environment: str) -> Iterator[int]:
    """``watcher api`` on the port; its process id."""
    variables = {"WATCHER_PORT": str(port), "WATCHER_API_PROCESSES": str(processes), **environment}
    with watcher_process(["api"], variables, folder / "bench-api.log") as process:
        wait_until(lambda: listens(port), "watcher api", START_SECONDS)
        yield process.pid


@contextmanager
def watcher_worker(folder: Path, *, concurrency: int, **environment: str) -> Iterator[int]:
    """``watcher worker`` with a pool of this size; its process id, once it has said that it lives."""
    arguments = ["worker", "--concurrency", str(concurrency)]
    log = folder / "bench-worker.log"
    with watcher_process(arguments, {"WATCHER_WORKER_METRICS_PORT": "0", **environment}, log) as process:
        wait_until(lambda: _is_known(process.pid), f"watcher worker (its log is {log})", START_SECONDS)
        yield process.pid


def _is_known(pid: int) -> bool:
    with psycopg.connect(os.environ["WATCHER_DATABASE_URL"]) as connection:
        found = connection.execute("SELECT FROM worker WHERE pid = %s AND stopped_at IS NULL", [pid])
        return found.fetchone() is not None


def listens(port: int) -> bool:
    """Whether anything takes connections on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cpu_seconds(pid: int, *, children: bool = True) -> float:
    """The CPU time that a process has taken, with all that it started and that still runs."""
    root = psutil.Process(pid)
    total = 0.0
    for process in (root, *(root.children(recursive=True) if children else ())):
        # A session of the database may have ended meanwhile.
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def machine_seconds() -> float:
    """The CPU time that all processes of the machine have taken."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)
