"""A search for the request that costs most for each of its bytes, over everything that the API describes.

What is counted is the same on every machine: bytes, statements and the peak of memory, not seconds.
"""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from tests.bounds.expensive import Bodies
from watcher_server.app import create_app
from watcher_server.database.metadata import MOST_BYTES_PER_ANSWER
from watcher_server.settings import load_settings

OPENAPI = create_app(load_settings(relay_enabled=False)).openapi()
OPERATIONS = [(method.upper(), path) for path, methods in OPENAPI["paths"].items() for method in methods]
# Not the events of a task: that answer goes on until the client leaves.
READING = [path for method, path in OPERATIONS if method == "GET" and not path.endswith("/events")]
# What is no JSON has tests of its own beside its route.
WRITING = [
    (method, path)
    for method, path in OPERATIONS
    if "application/json" in OPENAPI["paths"][path][method.lower()].get("requestBody", {}).get("content", ())
]
JSON = {"Content-Type": "application/json"}
MEBIBYTE = 1024 * 1024

# What a request may cost besides what is in proportion to its bytes.
MOST_STATEMENTS = 40
ANSWER_BYTES, ANSWER_PER_BYTE = 20_000, 2
PEAK_BYTES, PEAK_PER_BYTE = 16 * MEBIBYTE, 200


@contextmanager
def _count(client: httpx.AsyncClient) -> Iterator[dict[str, int]]:
    """The statements of requests, and the peak of memory in bytes, when it is left."""
    counts = {"statements": 0, "peak": 0}

    def add(*_: Any) -> None:
        counts["statements"] += 1

    engine = client._transport.app.state.query_engine.sync_engine  # type: ignore[attr-defined]  # noqa: SLF001
    event.listen(engine, "before_cursor_execute", add)
    tracemalloc.start()
    try:
        yield counts
    finally:
        counts["peak"] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        event.remove(engine, "before_cursor_execute", add)


async def _scene(client: httpx.AsyncClient) -> dict[str, Any]:
    """One of everything that a body can refer to, by the names of fields."""
    pipeline = {"name": "orders", "pipeline_type_name": "t"}
    pipeline_id = (await client.post("/pipeline", json=pipeline)).json()["id"]
    rule = {"pipeline_id": pipeline_id, "metric_field": "inserts"}
    await client.post("/anomaly_detection_rule", json=rule)
    await client.post("/address", json={"name": "a", "address_type_name": "t", "address_type_group_name": "g"})
    run = (await client.post("/start_pipeline_execution", json={"pipeline_id": pipeline_id})).json()["id"]
    return {"id": run, "pipeline_id": pipeline_id, "pipeline_execution_id": run, "retention_days": 90, "limit": "5/s"}


@pytest.mark.parametrize(("method", "path"), WRITING)
async def test_no_body_costs_much_more_than_its_bytes(client: httpx.AsyncClient, method: str, path: str) -> None:
    known = await _scene(client)
    content = OPENAPI["paths"][path][method.lower()]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    url = path.replace("{task}", "detect_anomalies_task")
    sent = 0
    for body in Bodies(OPENAPI, known).of(schema):
        raw = json.dumps(body, ensure_ascii=False).encode()
        sent += len(raw)
        with _count(client) as counts:
            answer = await client.request(method, url, content=raw, headers=JSON)
        costs = (raw[:200], len(raw), answer.status_code, len(answer.content), counts)
        assert answer.status_code < 500, costs
        assert len(answer.content) <= ANSWER_BYTES + ANSWER_PER_BYTE * len(raw), costs
        assert counts["statements"] <= MOST_STATEMENTS, costs
        assert counts["peak"] <= PEAK_BYTES + PEAK_PER_BYTE * len(raw), costs
    await _read_everything(client, sent)


async def _read_everything(client: httpx.AsyncClient, sent: int) -> None:
    """No answer, and no page, is much larger than everything that was sent before."""
    for path in (
        *READING,
        "/ui",
        "/ui/pipelines",
        "/ui/pipelines/1",
        "/ui/executions/1",
        "/ui/tasks",
        "/lineage-graph",
    ):
        url = path.replace("{task_id}", "00000000-0000-0000-0000-000000000000")
        for name in ("pipeline_id", "execution_id", "address_id", "address_type_id", "pipeline_type_id", "rule_id"):
            url = url.replace(f"{{{name}}}", "1")
        query: dict[str, str | int] = {"source_address_id": 1, "metric": "inserts", "limit": 1_000}
        answer = await client.get(url.replace("{result_id}", "1"), params=query)
        assert answer.status_code < 500, url
        assert len(answer.content) <= min(3 * sent + 200_000, MOST_BYTES_PER_ANSWER + 2_000_000), url


@pytest.mark.parametrize("path", READING)
async def test_no_query_costs_much_more_than_its_bytes(client: httpx.AsyncClient, path: str) -> None:
    await _scene(client)
    names = [each["name"] for each in OPENAPI["paths"][path]["get"].get("parameters", ()) if each["in"] == "query"]
    url = path
    for name in ("pipeline_id", "execution_id", "address_id", "address_type_id", "pipeline_type_id", "task_id"):
        url = url.replace(f"{{{name}}}", "1")
    url = url.replace("{rule_id}", "1").replace("{result_id}", "1")
    for name in (*names, "unknown"):
        for query in (f"{name}={'x' * 40_000}", f"{name}={'9' * 40_000}", "&".join([f"{name}=1"] * 2_000)):
            with _count(client) as counts:
                answer = await client.get(f"{url}?{query}")
            costs = (query[:50], answer.status_code, len(answer.content), counts)
            assert answer.status_code < 500, costs
            assert len(answer.content) <= ANSWER_BYTES + ANSWER_PER_BYTE * len(query), costs
            assert counts["statements"] <= MOST_STATEMENTS, costs
            assert counts["peak"] <= PEAK_BYTES + PEAK_PER_BYTE * len(query), costs
