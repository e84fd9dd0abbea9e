"""The examples of the README and of the page on reporting runs do what is said there."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine

from tests.conftest import create_database, worker_broker
from tests.end_to_end.test_sdk import SDK_PYTHON
from tests.support.emptying import empty_tables
from tests.support.live import LiveServer, start_live
from watcher_server.database.engine import sqlalchemy_url

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RUNS = (ROOT / "docs" / "runs.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def fresh(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A Watcher that nobody has used yet."""
    database_url = create_database(f"watcher_readme_{worker_id}")
    with start_live(database_url, worker_broker(worker_id, 2), tmp_path_factory.mktemp("readme")) as server:
        yield server


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def test_the_first_pipeline_with_curl(fresh: LiveServer) -> None:
    script = "set -e\n" + "".join(blocks("sh")).replace(ADDRESS, fresh.url)
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True, timeout=60)

    runs = httpx.get(f"{fresh.url}/pipeline_execution", params={"pipeline_id": 1}).json()
    assert '{"id":1,"active":true,"load_lineage":true,"watermark":null}' in done.stdout
    assert [(run["completed_successfully"], run["inserts"]) for run in runs] == [(True, 1200), (True, 1250)]
    assert httpx.get(f"{fresh.url}/pipeline/1").json()["watermark"] == "2026-01-02"
    assert httpx.get(f"{fresh.url}/anomaly_detection_rule/1").json()["minimum_executions"] == 14


def test_the_first_pipeline_with_python(fresh: LiveServer) -> None:
    (program,) = blocks("python")
    command = [str(SDK_PYTHON), "-c", program.replace(ADDRESS, fresh.url)]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    (pipeline,) = httpx.get(f"{fresh.url}/pipeline", params={"name": "orders hourly"}).json()
    (run,) = httpx.get(f"{fresh.url}/pipeline_execution", params={"pipeline_id": pipeline["id"]}).json()
    assert (run["completed_successfully"], run["total_rows"]) == (True, 1250)
    names = {row["name"] for row in httpx.get(f"{fresh.url}/lineage-graph/addresses").json()}
    assert names == {"shop.public.orders", "warehouse.sales.orders"}


def test_reporting_runs_answers_what_the_page_says(fresh: LiveServer) -> None:
    empty_tables(create_engine(sqlalchemy_url(fresh.database_url)))
    script, retried = blocks("sh", RUNS)

    said = re.findall(r"^# (.*)$", script, flags=re.MULTILINE)
    assert in_a_shell(script, fresh).splitlines() == ["" if line.startswith("no body") else line for line in said]
    assert in_a_shell(retried, fresh) == in_a_shell(retried, fresh) == '{"id":2}'


def in_a_shell(script: str, server: LiveServer) -> str:
    done = subprocess.run(
        ["sh"], input=script.replace(ADDRESS, server.url), capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout
