"""The published SDK drives a running server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.live import LiveServer

ROOT = Path(__file__).parent.parent.parent
SDK_PYTHON = ROOT / ".venv-sdk" / "bin" / "python"


@pytest.fixture(scope="module")
def api(live: LiveServer) -> httpx.Client:
    return httpx.Client(base_url=live.url)


@pytest.fixture(scope="module")
def found(live: LiveServer, api: httpx.Client) -> dict[str, Any]:
    api.post("/pipeline", json={"name": "inactive", "pipeline_type_name": "sdk loads"})
    api.patch("/pipeline", json={"name": "inactive", "active": False})
    scenario = Path(__file__).parent / "sdk_scenario.py"
    command = [str(SDK_PYTHON), str(scenario), live.url, "a-token-that-an-open-server-ignores"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_tracked_run_is_stored_with_its_watermarks(found: dict[str, Any], api: httpx.Client) -> None:
    seen = found["tracked"]
    execution = api.get(f"/pipeline_execution/{seen['execution_id']}").json()

    assert (seen["first_watermark"], seen["watermark_after"]) == ("2026-01-01", "2026-01-02")
    assert execution["completed_successfully"] is True
    assert (execution["inserts"], execution["total_rows"]) == (5, 5)
    assert execution["execution_metadata"] == {"Batch": 1}
    assert (execution["watermark"], execution["next_watermark"]) == ("2026-01-01", "2026-01-02")


def test_its_pipeline_carries_what_was_declared(found: dict[str, Any], api: httpx.Client) -> None:
    pipeline = api.get(f"/pipeline/{found['tracked']['pipeline_id']}").json()

    assert (pipeline["name"], pipeline["pipeline_metadata"]) == ("tracked", {"Team": "Data"})
    assert (pipeline["timeliness_number"], pipeline["timeliness_datepart"]) == (1, "hour")
    assert pipeline["load_lineage"] is False


def test_its_lineage_is_loaded(found: dict[str, Any], api: httpx.Client) -> None:
    addresses = {row["name"]: row["id"] for row in api.get("/lineage-graph/addresses").json()}
    graph = api.get("/lineage-graph/", params={"source_address_id": addresses["raw.public.orders"]}).json()

    assert found["tracked"]["pipeline_id"] in {edge["pipeline_id"] for edge in graph["edges"]}
    assert "mart.public.tracked" in {node["name"] for node in graph["nodes"]}


def test_a_failing_run_is_stored_as_failed_and_raises_on(found: dict[str, Any], api: httpx.Client) -> None:
    pipeline = api.get(f"/pipeline/{found['failing']['pipeline_id']}").json()

    assert found["failing"]["raised"] == "the source is away"
    assert pipeline["watermark"] is None


def test_a_child_lies_below_its_parent(found: dict[str, Any], api: httpx.Client) -> None:
    tree = api.get(f"/pipeline_execution/{found['child']['parent']}").json()

    assert [run["id"] for run in tree["child_executions"]] == [found["child"]["child"]]
    assert api.get(f"/pipeline/{found['child']['pipeline_id']}").json()["next_watermark"] == "77"


def test_an_inactive_pipeline_is_left_alone_with_a_warning(found: dict[str, Any]) -> None:
    assert found["inactive"] == {"active": False, "warned": True}
