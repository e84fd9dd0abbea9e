"""Whose a pipeline is, how much it matters, and what happens to its incidents when it is paused."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.incidents.records import add_incident, events, incident
from tests.support.rows import add_pipeline
from watcher_server.celery_tasks import sweep_incidents_task

BODY = {"name": "orders", "pipeline_type_name": "extraction"}
IMPORTANCE = {"owner": "Finance Team 🦊", "criticality": "high", "runbook_url": "https://wiki.example/orders?a=1#b"}
NONE = dict.fromkeys(IMPORTANCE)


def chosen(answer: httpx.Response) -> dict[str, Any]:
    stored: dict[str, Any] = answer.json()
    return {name: stored[name] for name in IMPORTANCE}


async def test_a_declaration_carries_it(client: httpx.AsyncClient) -> None:
    assert (await client.post("/pipeline", json={**BODY, **IMPORTANCE, "fail_after": 3})).status_code == 201
    stored = await client.get("/pipeline/1")

    assert (chosen(stored), stored.json()["fail_after"]) == (IMPORTANCE, 3)
    (listed,) = (await client.get("/pipeline")).json()
    assert (chosen(stored), listed["fail_after"]) == ({name: listed[name] for name in IMPORTANCE}, 3)


async def test_a_declaration_without_it_is_the_same_as_before(client: httpx.AsyncClient, engine: Engine) -> None:
    await client.post("/pipeline", json=BODY)
    with engine.connect() as connection:
        mark = connection.scalar(text("SELECT fingerprint FROM pipeline"))
    stored = await client.get("/pipeline/1")

    assert (chosen(stored), stored.json()["fail_after"]) == (NONE, 1)
    # As every earlier version wrote it: the first start after an upgrade changes no row.
    assert mark == "a99b8758c93940ad3c27226ba42ede3e04bdca99df732790e3142dfc77c35a61"


async def test_what_is_left_out_stays_and_an_explicit_null_clears(client: httpx.AsyncClient) -> None:
    await client.post("/pipeline", json={**BODY, **IMPORTANCE, "fail_after": 3})
    await client.post("/pipeline", json=BODY)
    kept = await client.get("/pipeline/1")
    await client.post("/pipeline", json={**BODY, **NONE})
    cleared = await client.get("/pipeline/1")

    assert (chosen(kept), kept.json()["fail_after"]) == (IMPORTANCE, 3)
    assert chosen(cleared) == NONE


async def test_a_patch_changes_it(client: httpx.AsyncClient) -> None:
    await client.post("/pipeline", json=BODY)
    answer = await client.patch("/pipeline", json={"id": 1, **IMPORTANCE, "criticality": " High ", "fail_after": 1000})
    assert (chosen(answer), answer.json()["fail_after"]) == (IMPORTANCE, 1000)

    answer = await client.patch("/pipeline", json={"id": 1, "owner": None})
    assert chosen(answer) == {**IMPORTANCE, "owner": None}


async def test_a_type_has_it_too(client: httpx.AsyncClient) -> None:
    await client.post("/pipeline_type", json={"name": "extraction", **IMPORTANCE})
    stored = await client.get("/pipeline_type/1")
    await client.post("/pipeline_type", json={"name": "extraction"})
    kept = await client.get("/pipeline_type/1")
    patched = await client.patch("/pipeline_type", json={"id": 1, "criticality": "low", "owner": None})

    assert chosen(stored) == chosen(kept) == IMPORTANCE
    assert chosen(patched) == {**IMPORTANCE, "criticality": "low", "owner": None}
    assert "fail_after" not in stored.json()


@pytest.mark.parametrize(
    "wrong",
    [
        {"owner": ""},
        {"owner": "x" * 151},
        {"owner": "a\nb"},
        {"owner": "a\x00b"},
        {"criticality": "urgent"},
        {"criticality": ""},
        {"runbook_url": "javascript:alert(1)"},
        {"runbook_url": "data:text/html,x"},
        {"runbook_url": "ftp://wiki.example"},
        {"runbook_url": "//wiki.example"},
        {"runbook_url": "https://"},
        {"runbook_url": "https://[x"},
        {"runbook_url": "https://wiki.example/a b"},
        {"runbook_url": "https://wiki.example/\nSet-Cookie"},
        {"runbook_url": "https://wiki.example/" + "x" * 500},
        {"fail_after": 0},
        {"fail_after": 1001},
        {"fail_after": None},
        {"fail_after": 1.5},
    ],
)
async def test_what_cannot_be_is_refused(client: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    await client.post("/pipeline", json=BODY)
    answers = [
        await client.post("/pipeline", json={**BODY, **wrong}),
        await client.patch("/pipeline", json={"id": 1, **wrong}),
    ]
    if "fail_after" not in wrong:
        answers.append(await client.post("/pipeline_type", json={"name": "extraction", **wrong}))
        answers.append(await client.patch("/pipeline_type", json={"id": 1, **wrong}))

    assert {answer.status_code for answer in answers} == {422}
    assert {len(answer.json()["detail"]) for answer in answers} == {1}


async def test_pausing_resolves_what_is_wrong_at_once(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        id_ = add_incident(connection, add_pipeline(connection))
    await client.patch("/pipeline", json={"id": 1, "owner": "finance"})
    await client.patch("/pipeline", json={"id": 1, "active": False})
    await client.patch("/pipeline", json={"id": 1, "active": False})

    with engine.connect() as connection:
        assert connection.scalars(text("SELECT task_name FROM outbox")).all() == ["sweep_incidents_task"]
    sweep_incidents_task()
    with engine.connect() as connection:
        found = incident(connection, id_)
        assert [event[0] for event in events(connection, id_)] == ["resolved"]
    assert (found["state"], found["resolution"]) == ("resolved", "paused")
