"""The documented entry points, as processes started in the repository's root."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.live import LiveServer, wait_until

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


def test_beat_starts_and_stops(database_url: str, broker_url: str, tmp_path: Path) -> None:
    variables = environment(tmp_path, database_url=database_url, broker_url=broker_url)
    log = tmp_path / "beat.log"
    command = [*CELERY, "beat", "--loglevel=info", "--schedule", str(tmp_path / "schedule")]

    def has_stored_its_schedule() -> bool:
        return any(b"timeliness_check_task" in file.read_bytes() for file in tmp_path.glob("schedule*"))

    with started(command, variables, log) as beat:
        # Stopped before it has, Celery's beat fails.
        wait_until(has_stored_its_schedule, "the start of beat")
        assert stop(beat) == 0
    assert "beat: Starting..." in log.read_text()
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
