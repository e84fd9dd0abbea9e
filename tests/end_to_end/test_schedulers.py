"""The files of docs/schedulers.md do what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.live import LiveServer, free_port

PAGE = (Path(__file__).parents[2] / "docs" / "schedulers.md").read_text()


def _block(language: str, words: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    (block,) = [block for block in found if words in block]
    return str(block)


def _write(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o755)
    return path


def _run(command: list[str | Path], folder: Path, url: str) -> "subprocess.CompletedProcess[str]":
    path = f"{folder}:{os.environ['PATH']}"
    environment = {**os.environ, "WATCHER_URL": url, "PATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def _runs(url: str, name: str) -> list[dict[str, Any]]:
    (pipeline,) = httpx.get(f"{url}/pipeline", params={"name": name}).json()
    return list(httpx.get(f"{url}/pipeline_execution", params={"pipeline_id": pipeline["id"]}).json())


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    return _write(tmp_path / "watched", _block("sh", "# watched NAME"))


@pytest.mark.parametrize("status", [0, 3])
def test_a_command_is_reported_and_its_status_kept(live: LiveServer, watched: Path, status: int) -> None:
    name = f"command with status {status}"
    done = _run([watched, name, "sh", "-c", f"exit {status}"], watched.parent, live.url)

    assert (done.returncode, done.stderr) == (status, "")
    assert [run["completed_successfully"] for run in _runs(live.url, name)] == [status == 0]


def test_a_command_may_say_what_it_did(live: LiveServer, watched: Path) -> None:
    tell = """echo '{"inserts": 5, "execution_metadata": {"host": "a1"}}' > "$WATCHED_RESULT" """
    assert _run([watched, "telling", "sh", "-c", tell], watched.parent, live.url).returncode == 0

    (run,) = _runs(live.url, "telling")
    assert (run["inserts"], run["execution_metadata"]) == (5, {"host": "a1"})


def test_a_command_runs_while_watcher_is_away(watched: Path) -> None:
    done = _run([watched, "alone", "sh", "-c", "echo done; exit 4"], watched.parent, f"http://127.0.0.1:{free_port()}")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "done\n", 1)
    assert done.stderr.startswith("curl: (7) Failed to connect")


DBT = """#!/bin/sh
mkdir -p target
echo '{"metadata": {"invocation_id": "i1"}, "results": [
  {"unique_id": "model.shop.orders", "status": "success", "adapter_response": {"rows_affected": 40}},
  {"unique_id": "model.shop.view", "status": "success", "adapter_response": {"rows_affected": -1}},
  {"unique_id": "test.shop.unique", "status": "fail", "adapter_response": {}}]}' > target/run_results.json
exit 1
"""


def test_dbt_reports_rows_and_what_failed(live: LiveServer, watched: Path) -> None:
    _write(watched.parent / "dbt", DBT)
    build = _write(watched.parent / "dbt_build", _block("sh", "dbt build"))
    assert _run([watched, "dbt nightly", build], watched.parent, live.url).returncode == 1

    (run,) = _runs(live.url, "dbt nightly")
    assert (run["completed_successfully"], run["total_rows"]) == (False, 40)
    assert run["execution_metadata"] == {"invocation": "i1", "failed": ["test.shop.unique"]}


# As much of Airflow as the page uses: a task that is called at once, at the end of an interval.
AIRFLOW = """
from datetime import datetime, timezone

def dag(**schedule):
    return lambda function: function

def task(function):
    return lambda: function(data_interval_end=datetime(2026, 1, DAY, tzinfo=timezone.utc))
"""


def _airflow_day(folder: Path, url: str, day: int, load: str) -> int:
    (folder / "airflow").mkdir(exist_ok=True)
    (folder / "airflow" / "__init__.py").touch()
    (folder / "airflow" / "sdk.py").write_text(AIRFLOW.replace("DAY", str(day)))
    (folder / "watched.py").write_text(_block("python", "def watched"))
    (folder / "dag.py").write_text(f"{load}\n{_block('python', 'airflow.sdk')}")
    return _run([sys.executable, "dag.py"], folder, url).returncode


def test_airflow_reads_from_the_watermark_to_the_end_of_the_interval(live: LiveServer, tmp_path: Path) -> None:
    log = tmp_path / "read.json"
    load = f"def load_orders(since, until):\n    print(since, until, file=open({str(log)!r}, 'a'))\n    return 7"
    assert _airflow_day(tmp_path, live.url, 1, load) == 0
    assert _airflow_day(tmp_path, live.url, 2, "def load_orders(since, until):\n    return 1 / 0") == 1
    assert _airflow_day(tmp_path, live.url, 2, load) == 0

    assert log.read_text() == ("None 2026-01-01T00:00:00+00:00\n2026-01-01T00:00:00+00:00 2026-01-02T00:00:00+00:00\n")
    runs = _runs(live.url, "orders in airflow")
    assert [run["completed_successfully"] for run in runs] == [True, False, True]
    assert runs[0]["inserts"] == 7
