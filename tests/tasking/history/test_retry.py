"""Running failed tasks again."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from tests.support.tasks import add_task, add_waiting, task_row, waiting_rows
from watcher_server.auth.service import create_token, revoke_token

TRIED = {"at": "2026-03-01T02:00:00+00:00", "exc_type": "OSError", "exc_message": "gone", "retries": 3}


def outbox(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return waiting_rows(connection)


@pytest.mark.parametrize("state", ["FAILURE", "REVOKED"])
async def test_a_task_that_failed_runs_again_as_it_was(client: httpx.AsyncClient, engine: Engine, state: str) -> None:
    kwargs, context = {"pipeline_id": 7}, {"request_id": "abc"}
    with engine.begin() as connection:
        task_id = add_task(
            connection,
            state,
            kwargs=kwargs,
            queue="scheduled",
            context=context,
            retries=3,
            history=[TRIED],
            traceback="Traceback …",
        )

    answer = await client.post(f"/tasks/{task_id}/retry")

    assert answer.status_code == 202
    task = answer.json()
    assert task == (await client.get(f"/tasks/{task_id}")).json()
    assert (task["id"], task["state"], task["meta"], task["retries"]) == (task_id, "PENDING", None, 0)
    assert (task["history"], task["traceback"]) == ([TRIED], None)
    assert task["due_at"] is not None
    assert [task[name] for name in ("published_at", "started_at", "finished_at", "worker")] == [None] * 4
    (message,) = outbox(engine)
    assert (str(message["task_id"]), message["task_name"]) == (task_id, "detect_anomalies_task")
    assert (message["kwargs"], message["queue"], message["context"]) == (kwargs, "scheduled", context)
    assert message["retries"] == 0


@pytest.mark.parametrize("state", ["PENDING", "PROGRESS", "SUCCESS", "RETRY"])
async def test_a_task_that_did_not_fail_is_a_409(client: httpx.AsyncClient, engine: Engine, state: str) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, state)

    answer = await client.post(f"/tasks/{task_id}/retry")

    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(f"The task {task_id} is in the state {state}:")
    assert outbox(engine) == []


async def test_a_task_that_still_waits_is_a_409(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_waiting(connection)

    assert (await client.post(f"/tasks/{task_id}/retry")).status_code == 409
    assert len(outbox(engine)) == 1


async def test_of_two_retries_at_once_one_wins(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "FAILURE")

    with engine.begin() as connection:
        # Both wait for this row, so that neither is over before the other has begun.
        connection.execute(text("SELECT FROM task FOR UPDATE"))
        retries = asyncio.gather(*(client.post(f"/tasks/{task_id}/retry") for _ in range(2)))
        await asyncio.sleep(0.3)
    answers = await retries

    assert sorted(answer.status_code for answer in answers) == [202, 409]
    assert len(outbox(engine)) == 1


async def test_a_message_that_waits_already_is_not_doubled(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "FAILURE")
        add_waiting(connection, task_id=task_id)

    assert (await client.post(f"/tasks/{task_id}/retry")).status_code == 202
    assert len(outbox(engine)) == 1


async def test_a_coalesced_task_runs_again_by_itself(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        doer = add_task(connection, "FAILURE")
        joined = add_task(connection, "COALESCED", coalesced_into=doer, kwargs={"connected_addresses": [2]})
        done = add_task(connection, "COALESCED", coalesced_into=add_task(connection, "SUCCESS"))

    task = (await client.post(f"/tasks/{joined}/retry")).json()
    refused = await client.post(f"/tasks/{done}/retry")

    assert (task["state"], task["coalesced_into"]) == ("PENDING", None)
    assert [message["kwargs"] for message in outbox(engine)] == [{"connected_addresses": [2]}]
    assert refused.status_code == 409
    assert "is in the state SUCCESS" in refused.json()["detail"]
    with engine.connect() as connection:
        assert task_row(connection, doer)["state"] == "FAILURE"


async def test_every_failed_task_runs_again(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        failed = {add_task(connection, "FAILURE", history=[TRIED]) for _ in range(3)}
        failed.add(add_task(connection, "FAILURE", "freshness_check_task", queue="scheduled"))
        for state in ("SUCCESS", "RETRY", "REVOKED", "PROGRESS"):
            add_task(connection, state)

    answer = await client.post("/tasks/retry-failed")

    assert (answer.status_code, answer.json()) == (202, {"retried": 4})
    assert {str(message["task_id"]) for message in outbox(engine)} == failed
    listed = (await client.get("/tasks", params={"state": "PENDING"})).json()["tasks"]
    assert {task["id"] for task in listed} == failed
    assert (await client.post("/tasks/retry-failed")).json() == {"retried": 0}


async def test_failed_tasks_of_one_name_run_again(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_task(connection, "FAILURE")
        check = add_task(connection, "FAILURE", "freshness_check_task")

    named = await client.post("/tasks/retry-failed", json={"name": " freshness_check_task "})
    unknown = await client.post("/tasks/retry-failed", json={"name": "no_such_task"})

    assert [named.json(), unknown.json()] == [{"retried": 1}, {"retried": 0}]
    assert [str(message["task_id"]) for message in outbox(engine)] == [check]
    assert (await client.post("/tasks/retry-failed", json={"name": None})).json() == {"retried": 1}


@pytest.mark.parametrize("name", ["", 7, "a\x00", "x" * 101])
async def test_a_name_that_cannot_be_is_a_422(client: httpx.AsyncClient, name: Any) -> None:
    assert (await client.post("/tasks/retry-failed", json={"name": name})).status_code == 422


async def test_relays_are_told_of_a_retry(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "FAILURE")
    with engine.connect() as connection:
        listener = connection.connection.dbapi_connection
        connection.execute(text("LISTEN watcher_outbox"))
        connection.commit()
        assert (await client.post(f"/tasks/{task_id}/retry")).status_code == 202
        told = [notice.channel for notice in listener.notifies(timeout=5, stop_after=1)]  # type: ignore[union-attr]
        connection.execute(text("UNLISTEN watcher_outbox"))
        connection.commit()

    # PostgreSQL's queue of notifications is one for all databases: what was in it before may come along.
    assert set(told) == {"watcher_outbox"}


async def test_who_may_only_read_may_look_and_not_retry(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "FAILURE")
        headers = {"Authorization": f"Bearer {create_token(connection, 'reader', 'read')}"}
    try:
        async with make_client() as client:
            answers = [
                await client.get("/tasks"),
                await client.get("/tasks", headers=headers),
                await client.get(f"/tasks/{task_id}/events", headers=headers),
                await client.post(f"/tasks/{task_id}/retry", headers=headers),
                await client.post("/tasks/retry-failed", headers=headers),
            ]
    finally:
        with engine.begin() as connection:
            revoke_token(connection, "reader")

    assert [answer.status_code for answer in answers] == [401, 200, 200, 403, 403]
    assert outbox(engine) == []
