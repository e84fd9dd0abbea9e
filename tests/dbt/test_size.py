"""A project of 5,000 models, as large as its files are."""

import copy
import json
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.dbt.conftest import Files, ReadTarget

MODELS = 5_000
MODEL, TEST = "model.shop.orders", "test.shop.not_null_orders_id.84ef11d8fe"


def grow(files: Files) -> Files:
    """A model and a test of the real files so many times over, each model reading up to three others."""
    manifest, run_results = (json.loads(files[name]) for name in ("manifest.json", "run_results.json"))
    results = {result["unique_id"]: result for result in run_results["results"]}
    nodes: dict[str, Any] = {}
    ran: list[dict[str, Any]] = []
    for number in range(MODELS):
        reads = sorted({number // 2, number // 3, max(number - 7, 0)} - {number})
        model, test = (copy.deepcopy(manifest["nodes"][name]) for name in (MODEL, TEST))
        name = f"model.shop.m{number}"
        model |= {"unique_id": name, "name": f"m{number}", "alias": f"m{number}", "relation_name": f"m{number}"}
        model["depends_on"]["nodes"] = [f"model.shop.m{other}" for other in reads] or ["source.shop.raw.orders"]
        test |= {"unique_id": f"test.shop.not_null_m{number}", "depends_on": {"nodes": [name]}, "attached_node": name}
        nodes |= {name: model, test["unique_id"]: test}
        ran += [{**results[MODEL], "unique_id": name}, {**results[TEST], "unique_id": test["unique_id"]}]
    manifest |= {"nodes": nodes, "exposures": {}, "parent_map": {name: list(nodes) for name in list(nodes)[:9]}}
    run_results["results"] = ran
    return {"manifest.json": json.dumps(manifest).encode(), "run_results.json": json.dumps(run_results).encode()}


def _peak_megabytes(url: str) -> float:
    """The most memory that the api at this address has held, its engines not counted."""
    port = str(urlsplit(url).port)
    processes = [process for process in psutil.process_iter() if "watcher_server" in " ".join(_line(process))]
    peaks = []
    for process in processes:
        if "api" in _line(process) and process.environ().get("WATCHER_PORT") == port:
            with open(f"/proc/{process.pid}/status") as status:  # noqa: PTH123 - not a file
                peaks += [int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")]
    return max(peaks)


def _line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.mark.timeout(300)
def test_five_thousand_models_are_applied_within_30_s_and_500_mb(api: str, read_target: ReadTarget) -> None:
    files = grow(read_target("broken"))
    assert len(files["manifest.json"]) > 20_000_000
    began = time.monotonic()
    parts = [(name, (name, raw)) for name, raw in files.items()]
    answer = httpx.post(f"{api}/dbt/artifacts", files=parts, timeout=120)
    seconds = time.monotonic() - began
    assert answer.status_code == 201, answer.text
    assert answer.json()["executions"] == 2 * MODELS + 1
    peak = _peak_megabytes(api)
    graph = httpx.get(f"{api}/lineage-graph/", params={"source_address_id": 1, "depth": 1}).json()
    assert graph["edges"]
    assert seconds < 30
    assert peak < 500
