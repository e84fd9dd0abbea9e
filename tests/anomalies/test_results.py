"""From the end of a run to its anomaly, and back when somebody unflags it."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.factories import end, make_pipeline, start
from tests.support.rows import add_history, alerts, now
from watcher_server.celery_tasks import detect_anomalies_task


@pytest.fixture
async def flagged(client: httpx.AsyncClient, engine: Engine) -> tuple[int, int]:
    """A pipeline and its run with two anomalies, reported over HTTP; the ids of both."""
    pipeline_id = await make_pipeline(client)
    for metric in ("inserts", "total_rows"):
        body = {"pipeline_id": pipeline_id, "metric_field": metric, "minimum_executions": 5}
        assert (await client.post("/anomaly_detection_rule", json=body)).status_code == 201
    began = now() - timedelta(hours=1)
    run = await start(client, pipeline_id, began)
    assert (await end(client, run, inserts=0, total_rows=9, at=began + timedelta(minutes=5))).status_code == 204
    with engine.begin() as connection:
        add_history(connection, pipeline_id, [100] * 6, inserts=100, hour_recorded=began.hour)
        (message,) = connection.execute(text("DELETE FROM outbox RETURNING task_name, kwargs")).all()
    assert message.task_name == "detect_anomalies_task"
    assert detect_anomalies_task(**message.kwargs) == {"anomalies_found": 2}
    return pipeline_id, run


async def read_flags(client: httpx.AsyncClient, run: int) -> dict[str, bool]:
    read: dict[str, bool] = (await client.get(f"/pipeline_execution/{run}")).json()["anomaly_flags"]
    return read


async def unflag(client: httpx.AsyncClient, pipeline_id: int, run: int, *metrics: str) -> httpx.Response:
    body = {"pipeline_id": pipeline_id, "pipeline_execution_id": run, "metric_field": metrics}
    return await client.post("/unflag_anomaly", json=body)


async def result_metrics(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get("/anomaly_detection_result", params=query)
    assert answer.status_code == 200
    return sorted(result["metric_field"] for result in answer.json())


async def test_anomalies_are_listed_with_filters(client: httpx.AsyncClient, flagged: tuple[int, int]) -> None:
    pipeline_id, run = flagged

    assert await read_flags(client, run) == {"inserts": True, "total_rows": True}
    assert await result_metrics(client) == ["inserts", "total_rows"]
    assert await result_metrics(client, pipeline_id=pipeline_id, pipeline_execution_id=run) == ["inserts", "total_rows"]
    assert await result_metrics(client, metric_field="inserts") == ["inserts"]
    assert await result_metrics(client, pipeline_id=pipeline_id + 1) == []
    assert len(await result_metrics(client, limit=1, offset=1)) == 1
    first = (await client.get("/anomaly_detection_result")).json()[0]
    assert (await client.get(f"/anomaly_detection_result/{first['id']}")).json() == first
    assert (await client.get("/anomaly_detection_result/99")).status_code == 404


async def test_an_unflagged_metric_stays_unflagged_after_a_redelivery(
    client: httpx.AsyncClient, engine: Engine, flagged: tuple[int, int]
) -> None:
    pipeline_id, run = flagged

    # A flag that does not exist is passed over; so is a second try.
    for _ in range(2):
        assert (await unflag(client, pipeline_id, run, " Inserts", "updates")).status_code == 204
    assert detect_anomalies_task(pipeline_id, run) == {"anomalies_found": 0}

    assert await read_flags(client, run) == {"inserts": False, "total_rows": True}
    assert await result_metrics(client) == ["total_rows"]
    with engine.connect() as connection:
        assert len(alerts(connection)) == 1


async def test_unflagging_one_run_leaves_the_results_of_others(
    client: httpx.AsyncClient, flagged: tuple[int, int]
) -> None:
    pipeline_id, run = flagged
    began = datetime.fromisoformat((await client.get(f"/pipeline_execution/{run}")).json()["start_date"])
    other = await start(client, pipeline_id, began)
    await end(client, other, inserts=0, total_rows=9, at=began + timedelta(minutes=6))
    assert detect_anomalies_task(pipeline_id, other) == {"anomalies_found": 2}

    assert (await unflag(client, pipeline_id, run, "inserts", "total_rows")).status_code == 204

    assert await result_metrics(client, pipeline_execution_id=run) == []
    assert await result_metrics(client, pipeline_execution_id=other) == ["inserts", "total_rows"]
    assert await read_flags(client, other) == {"inserts": True, "total_rows": True}


async def test_what_has_no_such_flag_is_a_404(client: httpx.AsyncClient, flagged: tuple[int, int]) -> None:
    pipeline_id, run = flagged

    missing = await unflag(client, pipeline_id, run, "updates", "nonsense")
    assert missing.status_code == 404
    assert missing.json() == {"detail": f"Pipeline execution {run} has no anomaly flag for nonsense, updates."}
    assert (await unflag(client, pipeline_id, 2**62, "inserts")).status_code == 404
    assert (await unflag(client, pipeline_id + 1, run, "inserts")).status_code == 404
    assert await read_flags(client, run) == {"inserts": True, "total_rows": True}


@pytest.mark.parametrize("metrics", [[], None, "inserts", [None], ["a\x00"]])
async def test_a_list_of_metrics_is_needed(client: httpx.AsyncClient, metrics: Any) -> None:
    body = {"pipeline_id": 1, "pipeline_execution_id": 1, "metric_field": metrics}

    assert (await client.post("/unflag_anomaly", json=body)).status_code == 422
