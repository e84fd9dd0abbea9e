"""Files that dbt itself wrote, once per test run, and an upload of them."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import OWN_PROCESSES, create_database, worker_broker
from tests.support.live import start_live

ROOT = Path(__file__).parents[2]
DBT_PYTHON = ROOT / ".venv-dbt" / "bin" / "python"

Files = dict[str, bytes]
ReadTarget = Callable[..., Files]


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The target folders that dbt left: ``broken``, ``mended`` and ``run``."""
    if not DBT_PYTHON.exists():
        pytest.fail("dbt is not installed: `make test` does it, or `make .venv-dbt/.ready`")
    folder = tmp_path_factory.mktemp("dbt")
    command = [DBT_PYTHON, Path(__file__).parent / "write_artifacts.py", folder]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def api(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real api with a real worker, which no other module uses."""
    database_url = create_database(f"watcher_dbt_{worker_id}")
    broker_url = worker_broker(worker_id, OWN_PROCESSES)
    with start_live(database_url, broker_url, tmp_path_factory.mktemp("live")) as server:
        yield server.url


@pytest.fixture
def read_target(targets: Path) -> ReadTarget:
    """The files of a target folder by their names; all of them, or those that are named."""

    def read(name: str, *wanted: str) -> Files:
        present = ("manifest.json", "run_results.json", "sources.json")
        files = [targets / name / file for file in wanted or present]
        return {file.name: file.read_bytes() for file in files if file.exists()}

    return read


async def upload(client: httpx.AsyncClient, files: Files, **fields: Any) -> httpx.Response:
    """Send files and fields as ``curl -F`` does."""
    parts = [(name, (name, content)) for name, content in files.items()]
    return await client.post("/dbt/artifacts", files=parts, data=fields)
