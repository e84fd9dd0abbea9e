"""The documented entry points, as processes started in the repository's root."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.support.live import LiveServer, wait_until
from tests.support.old_server import server_of_version

ROOT = Path(__file__).parents[2]
CELERY = [sys.executable, "-m", "celery", "-A", "src.celery_app"]
CALLS = {
    "detect_anomalies_task": {"pipeline_id": 1, "pipeline_execution_id": 123},
    "freshness_check_task": {},
    "timeliness_check_task": {"lookback_minutes": 120},
    "address_lineage_closure_rebuild_task": {"connected_addresses": [1, 2, 3], "pipeline_id": 1},
    "pipeline_execution_closure_maintain_task": {"execution_id": 123, "parent_id": 122},
}
RUN_THE_EXAMPLES = f"""
import json
from celery.result import AsyncResult
from src.celery_tasks import {", ".join(CALLS)}

sent = {{name: globals()[name].delay(**arguments) for name, arguments in {CALLS!r}.items()}}
results = {{name: AsyncResult(result.id).get(timeout=30) for name, result in sent.items()}}
print(json.dumps(results))
"""


def environment(home: Path, **settings: str) -> dict[str, str]:
    """This process's, with no settings of Watcher but these."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WATCHER_") and name not in {"DATABASE_URL", "REDIS_URL"}
    }
    own = {f"WATCHER_{name.upper()}": value for name, value in settings.items()}
    return {**inherited, "WATCHER_HOME": str(home), **own}


def run(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def started(command: list[str], variables: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=variables, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stop(process: "subprocess.Popen[bytes]") -> int:
    process.terminate()
    return process.wait(timeout=30)


def test_the_documented_examples_run_and_their_results_can_be_read(live: LiveServer, tmp_path: Path) -> None:
    variables = environment(tmp_path, database_url=live.database_url, broker_url=live.broker_url)
    ran = run([sys.executable, "-c", RUN_THE_EXAMPLES], variables)
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    assert set(results) == set(CALLS)
    assert "new_stale_pipelines" in results["freshness_check_task"]


def test_a_star_import_brings_the_tasks(database_url: str, broker_url: str, tmp_path: Path) -> None:
    variables = environment(tmp_path, database_url=database_url, broker_url=broker_url)
    names = ", ".join(f"{name}.name" for name in CALLS)
    ran = run([sys.executable, "-c", f"from src.celery_tasks import *; print({names})"], variables)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == list(CALLS)


def test_a_worker_starts_and_stops(database_url: str, broker_url: str, tmp_path: Path) -> None:
    variables = environment(tmp_path, database_url=database_url, broker_url=broker_url)
    log = tmp_path / "worker.log"
    with started([*CELERY, "worker", "--loglevel=info", "--concurrency=4"], variables, log) as worker:
        wait_until(lambda: " ready." in log.read_text(), "the worker's start")
        assert stop(worker) == 0
    text = log.read_text()
    assert "concurrency: 4" in text
    assert all(f". {name}" in text for name in CALLS)


@pytest.mark.parametrize("program", ["worker", "beat"])
def test_a_database_server_that_is_too_old_is_refused(broker_url: str, tmp_path: Path, program: str) -> None:
    with server_of_version("15.4") as old:
        ran = run([*CELERY, program], environment(tmp_path, database_url=old, broker_url=broker_url))
    assert ran.returncode == 1
    assert "PostgreSQL 15.4, and Watcher needs 16 or newer: upgrade it" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_workers_on_one_machine_have_names_of_their_own(
    engine: Engine, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    variables = environment(tmp_path, database_url=database_url, broker_url=broker_url, worker_metrics_port="0")
    command = [*CELERY, "worker", "--concurrency=1"]

    def names() -> list[str]:
        with engine.connect() as connection:
            return list(connection.scalars(text("SELECT name FROM worker WHERE stopped_at IS NULL")))

    with (
        started(command, variables, tmp_path / "one.log"),
        started(command, variables, tmp_path / "two.log"),
        started([*command, "--hostname", "nightly@%h"], variables, tmp_path / "three.log"),
    ):
        wait_until(lambda: len(names()) == 3, "three workers", 60)
        assert len(set(names())) == 3
        assert sum(name.startswith("nightly@") for name in names()) == 1


def test_beat_starts_and_stops(database_url: str, broker_url: str, tmp_path: Path) -> None:
    variables = environment(tmp_path, database_url=database_url, broker_url=broker_url)
    log = tmp_path / "beat.log"
    command = [*CELERY, "beat", "--loglevel=info", "--schedule", str(tmp_path / "schedule")]
    with started(command, variables, log) as beat:
        wait_until(lambda: "beat: Starting..." in log.read_text(), "the start of beat")
        assert stop(beat) == 0
    assert not list(tmp_path.glob("schedule*"))
    assert not list(ROOT.glob("celerybeat*"))


@pytest.mark.parametrize(
    "command",
    [
        [*CELERY, "worker", "--loglevel=info", "--concurrency=4"],
        [*CELERY, "beat", "--loglevel=info"],
        [sys.executable, "-c", "from src.celery_tasks import detect_anomalies_task"],
    ],
    ids=["worker", "beat", "import"],
)
def test_without_a_broker_it_says_which_setting_is_missing(command: list[str], tmp_path: Path) -> None:
    refused = run(command, environment(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.startswith("watcher: No broker is configured: set WATCHER_BROKER_URL")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [[*CELERY, "worker"], [sys.executable, "-c", "import src.celery_tasks"]])
def test_a_home_that_others_may_write_is_refused(command: list[str], tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    refused = run(command, environment(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"watcher: Other users may write to {tmp_path}")
    assert len(refused.stderr.splitlines()) == 1
