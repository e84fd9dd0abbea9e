"""GET /tasks/{id}: what became of a task, wherever it is."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.support.rows import ago, now
from tests.support.tasks import ERROR, PROGRESS, STORED_ERROR, UNKNOWN_ID, add_task, add_waiting, add_worker, publish


async def read(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    answer = await client.get(f"/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    task: dict[str, Any] = answer.json()
    return task


@pytest.mark.parametrize(
    ("state", "stored", "meta"),
    [
        ("PENDING", None, None),
        ("PROGRESS", PROGRESS, PROGRESS),
        ("SUCCESS", {"anomalies_found": 2}, {"result": {"anomalies_found": 2}}),
        ("SUCCESS", None, {"result": None}),
        ("RETRY", STORED_ERROR, ERROR),
        ("FAILURE", STORED_ERROR, ERROR),
    ],
)
async def test_state_and_meta_are_as_documented(
    client: httpx.AsyncClient, engine: Engine, state: str, stored: Any, meta: Any
) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, state, meta=stored)

    task = await read(client, task_id)

    assert (task["state"], task["meta"]) == (state, meta)
    # In the order of the documentation, too: people read it.
    assert list(task["meta"] or {}) == list(meta or {})


async def test_a_task_that_ran_tells_everything(client: httpx.AsyncClient, engine: Engine) -> None:
    tried = {"at": "2026-03-01T02:00:00+00:00", "exc_type": "OperationalError", "exc_message": "gone", "retries": 0}
    moments: dict[str, Any] = {
        "created_at": ago(minutes=4),
        "published_at": ago(minutes=3),
        "started_at": ago(minutes=2),
        "finished_at": ago(minutes=1),
    }
    with engine.begin() as connection:
        task_id = add_task(
            connection,
            "FAILURE",
            kwargs={"pipeline_id": 7, "pipeline_execution_id": 42},
            pipeline_id=7,
            pipeline_execution_id=42,
            retries=2,
            worker_id=add_worker(connection, "celery@one"),
            history=[tried],
            traceback="Traceback (most recent call last): …",
            context={"request_id": "abc"},
            **moments,
        )

    task = await read(client, task_id)

    expected = {
        "id": task_id,
        "name": "detect_anomalies_task",
        "kwargs": {"pipeline_id": 7, "pipeline_execution_id": 42},
        "queue": "celery",
        "pipeline_id": 7,
        "pipeline_execution_id": 42,
        "retries": 2,
        "due_at": None,
        "worker": "celery@one",
        "coalesced_into": None,
        "history": [tried],
        "failed_tries": 1,
        "traceback": "Traceback (most recent call last): …",
        "request_id": "abc",
    }
    assert {name: task[name] for name in expected} == expected
    assert {name: datetime.fromisoformat(task[name]) for name in moments} == moments


async def test_a_task_that_waits_is_pending(client: httpx.AsyncClient, engine: Engine) -> None:
    later = now() + timedelta(minutes=10)
    kwargs = {"pipeline_id": 7, "execution_id": 42}
    with engine.begin() as connection:
        task_id = add_waiting(connection, kwargs=kwargs, due_at=later, queue="scheduled", context={"request_id": "abc"})

    task = await read(client, task_id)

    assert (task["state"], task["meta"], task["published_at"]) == ("PENDING", None, None)
    assert (task["kwargs"], task["queue"], task["request_id"]) == (kwargs, "scheduled", "abc")
    assert (task["pipeline_id"], task["pipeline_execution_id"]) == (7, 42)
    assert datetime.fromisoformat(task["due_at"]) == later
    assert (task["history"], task["failed_tries"]) == ([], 0)


@pytest.mark.parametrize("kwargs", [{"pipeline_id": "seven"}, {"pipeline_id": None}, {"pipeline_id": 10**30}, {}])
async def test_arguments_may_be_anything(client: httpx.AsyncClient, engine: Engine, kwargs: dict[str, Any]) -> None:
    with engine.begin() as connection:
        task_id = add_waiting(connection, kwargs=kwargs)

    task = await read(client, task_id)

    assert (task["kwargs"], task["pipeline_id"]) == (kwargs, None)


async def test_a_task_that_will_be_tried_again_says_when(client: httpx.AsyncClient, engine: Engine) -> None:
    later = now() + timedelta(minutes=1)
    with engine.begin() as connection:
        task_id = add_waiting(connection, due_at=later)
        add_task(connection, "RETRY", id=task_id)

    task = await read(client, task_id)

    assert (task["state"], task["meta"]) == ("RETRY", ERROR)
    assert datetime.fromisoformat(task["due_at"]) == later


async def test_a_published_task_is_no_longer_due(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_waiting(connection)
        publish(connection, task_id)

    task = await read(client, task_id)

    assert (task["state"], task["due_at"]) == ("PENDING", None)


async def test_a_coalesced_task_is_in_the_state_of_the_one_that_does_its_work(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    name = "address_lineage_closure_rebuild_task"
    with engine.begin() as connection:
        worker_id = add_worker(connection, "celery@one")
        doer = add_task(connection, "PROGRESS", name, worker_id=worker_id, kwargs={"connected_addresses": [1, 2]})
        task_id = add_task(
            connection, "COALESCED", name, coalesced_into=doer, kwargs={"connected_addresses": [2]}, started_at=None
        )

    task = await read(client, task_id)

    assert (task["id"], task["coalesced_into"], task["state"], task["meta"]) == (task_id, doer, "PROGRESS", PROGRESS)
    assert (task["kwargs"], task["worker"]) == ({"connected_addresses": [2]}, "celery@one")
    assert task["started_at"] is not None
    assert task["finished_at"] is None


@pytest.mark.parametrize("task_id", [UNKNOWN_ID, "nightly-42", "0", "%00", "retry-failed", "x" * 5000])
async def test_what_never_existed_is_a_404(client: httpx.AsyncClient, engine: Engine, task_id: str) -> None:
    with engine.begin() as connection:
        add_task(connection)

    answers = [
        await client.get(f"/tasks/{task_id}"),
        await client.get(f"/tasks/{task_id}/events"),
        await client.post(f"/tasks/{task_id}/retry"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 3
    for answer in answers:
        assert answer.json()["detail"].startswith("No task has the id ")
