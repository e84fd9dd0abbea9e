"""Builders over the HTTP API: a test names only the fields that matter to it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

START = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


async def make_pipeline(client: httpx.AsyncClient, name: str = "orders", **fields: Any) -> int:
    """A pipeline; its id."""
    body = {"name": name, "pipeline_type_name": "extraction", **fields}
    response = await client.post("/pipeline", json=body)
    assert response.status_code in {200, 201}, response.text
    return int(response.json()["id"])


async def make_rule(client: httpx.AsyncClient, pipeline_id: int, metric: str = "inserts", **fields: Any) -> int:
    """A rule that judges the runs of a pipeline; its id."""
    body = {"pipeline_id": pipeline_id, "metric_field": metric, **fields}
    response = await client.post("/anomaly_detection_rule", json=body)
    assert response.status_code == 201, response.text
    return int(response.json()["id"])


async def start(client: httpx.AsyncClient, pipeline_id: int, at: datetime = START, **fields: Any) -> int:
    """A run that began; its id."""
    body = {"pipeline_id": pipeline_id, "start_date": at.isoformat(), **fields}
    response = await client.post("/start_pipeline_execution", json=body)
    assert response.status_code == 201, response.text
    return int(response.json()["id"])


async def end(
    client: httpx.AsyncClient,
    execution_id: int,
    at: datetime = START + timedelta(minutes=5),
    *,
    success: bool = True,
    **fields: Any,
) -> httpx.Response:
    """The end of a run."""
    body = {"id": execution_id, "end_date": at.isoformat(), "completed_successfully": success, **fields}
    return await client.post("/end_pipeline_execution", json=body)
