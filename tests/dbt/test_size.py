"""A project of 5,000 models, as large as its files are."""

import copy
import json
import time
from typing import Any

import httpx
import pytest

from tests.dbt.conftest import Files, ReadTarget
from tests.support.memory import peak_megabytes

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
    peak = peak_megabytes(api)
    graph = httpx.get(f"{api}/lineage-graph/", params={"source_address_id": 1, "depth": 1}).json()
    assert graph["edges"]
    assert seconds < 30
    assert peak < 500
