"""GET /tasks: tasks by what they are about and how far they have got, the newest first."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine

from tests.support.rows import ago, now
from tests.support.tasks import add_task, add_waiting


async def list_tasks(client: httpx.AsyncClient, **query: Any) -> list[str]:
    """The ids, in the order of the list."""
    answer = await client.get("/tasks", params=query)
    assert answer.status_code == 200, answer.text
    return [task["id"] for task in answer.json()["tasks"]]


async def test_the_newest_come_first_wherever_they_are(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        oldest = add_task(connection, created_at=ago(minutes=4))
        waiting = add_waiting(connection, created_at=ago(minutes=3))
        running = add_task(connection, "PROGRESS", created_at=ago(minutes=2))
        newest = add_waiting(connection, created_at=ago(minutes=1))

    assert await list_tasks(client) == [newest, running, waiting, oldest]


async def test_an_empty_list_is_a_list(client: httpx.AsyncClient) -> None:
    assert (await client.get("/tasks")).json() == {"tasks": [], "next_offset": None}


async def test_a_task_that_waits_for_its_next_try_is_listed_once(client: httpx.AsyncClient, engine: Engine) -> None:
    later = now() + timedelta(minutes=1)
    with engine.begin() as connection:
        task_id = add_task(connection, "RETRY", created_at=ago(hours=1))
        add_waiting(connection, task_id=task_id, due_at=later, retries=1)

    (task,) = (await client.get("/tasks")).json()["tasks"]

    assert (task["id"], task["state"], task["due_at"] is not None) == (task_id, "RETRY", True)
    assert await list_tasks(client, state="PENDING") == []


async def test_a_list_marks_long_arguments_and_one_task_has_them(client: httpx.AsyncClient, engine: Engine) -> None:
    long = {"connected_addresses": list(range(10_000)), "pipeline_id": 0}
    with engine.begin() as connection:
        published, waiting = add_task(connection, kwargs=long), add_waiting(connection, kwargs=long)
        add_task(connection, kwargs={"text": "x" * 4_000})

    answer = await client.get("/tasks?limit=1000")

    shown = {task["id"]: task["kwargs"] for task in answer.json()["tasks"]}
    assert len(answer.content) < 10_000
    for task_id in (published, waiting):
        assert shown[task_id] == {"truncated": True, "bytes": 58_933}
        assert (await client.get(f"/tasks/{task_id}")).json()["kwargs"] == long
    assert {"text": "x" * 4_000} in shown.values()


async def test_a_list_has_what_one_task_has_but_for_what_is_long(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "FAILURE", traceback="Traceback …", history=[{"exc_type": "OSError"}])

    (listed,) = (await client.get("/tasks")).json()["tasks"]
    whole = (await client.get(f"/tasks/{task_id}")).json()

    assert {name: whole[name] for name in listed} == listed
    assert whole.keys() - listed.keys() == {"history", "traceback"}


async def test_pages_hold_every_task_once(client: httpx.AsyncClient, engine: Engine) -> None:
    same_moment = ago(minutes=1)
    with engine.begin() as connection:
        every = {add_task(connection, created_at=same_moment) for _ in range(4)}
        every |= {add_waiting(connection, created_at=same_moment) for _ in range(3)}

    seen: list[str] = []
    offset = 0
    while offset is not None:
        answer = (await client.get("/tasks", params={"limit": 2, "offset": offset})).json()
        seen += [task["id"] for task in answer["tasks"]]
        offset = answer["next_offset"]

    assert (len(seen), set(seen)) == (7, every)
    assert await list_tasks(client, limit=2, offset=7) == []


async def test_without_a_limit_a_page_has_fifty(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        for _ in range(51):
            add_waiting(connection)

    answer = (await client.get("/tasks")).json()

    assert (len(answer["tasks"]), answer["next_offset"]) == (50, 50)


async def test_filters(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        run: dict[str, Any] = {"pipeline_id": 7, "pipeline_execution_id": 42}
        failed = add_task(connection, "FAILURE", kwargs=run, created_at=ago(minutes=9), **run)
        check = add_task(connection, "SUCCESS", "freshness_check_task", created_at=ago(minutes=8))
        waiting = add_waiting(connection, kwargs=run, created_at=ago(minutes=7))
        closure = add_waiting(
            connection,
            "pipeline_execution_closure_maintain_task",
            kwargs={"execution_id": 42},
            created_at=ago(minutes=6),
        )
        published = add_task(connection, "PENDING", created_at=ago(minutes=5))

    assert await list_tasks(client, name="freshness_check_task") == [check]
    assert await list_tasks(client, name="detect_anomalies_task") == [published, waiting, failed]
    assert await list_tasks(client, state="FAILURE") == [failed]
    assert await list_tasks(client, state="success") == [check]
    assert await list_tasks(client, state="PENDING") == [published, closure, waiting]
    assert await list_tasks(client, state="REVOKED") == []
    assert await list_tasks(client, pipeline_id=7) == [waiting, failed]
    assert await list_tasks(client, pipeline_execution_id=42) == [closure, waiting, failed]
    assert await list_tasks(client, pipeline_id=7, state="FAILURE") == [failed]
    assert await list_tasks(client, pipeline_id=8) == []
    assert await list_tasks(client, name="DETECT_anomalies_task") == []


async def test_since_is_inclusive_and_until_is_not(client: httpx.AsyncClient, engine: Engine) -> None:
    earlier, middle, later = ago(hours=3), ago(hours=2), ago(hours=1)
    with engine.begin() as connection:
        first = add_task(connection, created_at=earlier)
        second = add_waiting(connection, created_at=middle)
        third = add_task(connection, created_at=later)

    assert await list_tasks(client, since=middle.isoformat()) == [third, second]
    assert await list_tasks(client, until=middle.isoformat()) == [first]
    assert await list_tasks(client, since=earlier.isoformat(), until=later.isoformat()) == [second, first]
    # Without an offset it is UTC.
    assert await list_tasks(client, since=later.replace(tzinfo=None).isoformat()) == [third]


async def test_coalesced_tasks_are_found_by_the_state_they_are_shown_in(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        doer = add_task(connection, "FAILURE", created_at=ago(minutes=3))
        joined = add_task(connection, "COALESCED", coalesced_into=doer, created_at=ago(minutes=2))
        # What is left of one whose doer was trimmed goes next, and is not shown meanwhile.
        add_task(connection, "COALESCED", coalesced_into=uuid4(), created_at=ago(minutes=1))

    assert await list_tasks(client, state="FAILURE") == [joined, doer]
    assert await list_tasks(client, state="SUCCESS") == []
    assert await list_tasks(client) == [joined, doer]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "DONE"),
        ("state", "COALESCED"),
        ("limit", "0"),
        ("limit", "1001"),
        ("offset", "-1"),
        ("offset", str(2**31)),
        ("pipeline_id", "seven"),
        ("pipeline_id", str(2**63)),
        ("since", "yesterday"),
        ("name", "a\x00"),
        ("name", "x" * 101),
    ],
)
async def test_a_filter_that_cannot_be_is_a_422_that_names_it(client: httpx.AsyncClient, name: str, value: str) -> None:
    answer = await client.get("/tasks", params={name: value})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", name]


async def test_the_bounds_of_filters_are_filters(client: httpx.AsyncClient) -> None:
    widest = {"limit": 1000, "offset": 2**31 - 1, "pipeline_id": 2**63 - 1, "pipeline_execution_id": -(2**63)}

    assert await list_tasks(client, **widest) == []
