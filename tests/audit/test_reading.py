"""The trail over HTTP: filters, pages, the download, and who may read it."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, insert

from tests.conftest import MakeClient
from tests.support.rows import ago
from watcher_server.audit.acting import Actor, ActorKind, acting_as
from watcher_server.audit.models import AuditEntry
from watcher_server.audit.service import Change, delete_old, record
from watcher_server.auth.service import create_token

ANN = Actor("ann", ActorKind.TOKEN, "10.0.0.7")
BOB = Actor("bob", ActorKind.CLI, "bob@build-1")


def add_entries(engine: Engine) -> None:
    """Three changes: by ann of a pipeline and a channel, by bob of that pipeline."""
    with engine.begin() as connection:
        with acting_as(ANN):
            record(connection, Change("change", "pipeline", 7, "Orders", {"owner": "x"}, {"owner": "100%_sure"}))
            record(connection, Change("create", "channel", "ops", "ops", after={"type": "slack"}))
        with acting_as(BOB):
            record(connection, Change("archive", "pipeline", 7, "Orders"))


async def _ids(client: httpx.AsyncClient, **query: Any) -> list[int]:
    answer = await client.get("/audit", params=query)
    assert answer.status_code == 200, answer.text
    return [entry["id"] for entry in answer.json()["entries"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [3, 2, 1]),
        ({"actor": "ann"}, [2, 1]),
        ({"action": "archive"}, [3]),
        ({"object_kind": "pipeline", "object_id": "7"}, [3, 1]),
        ({"object_kind": "channel", "object_id": "ops"}, [2]),
        ({"q": "ORDERS"}, [3, 1]),
        ({"q": "build-1"}, [3]),
        ({"q": "100%_s"}, [1]),
        ({"q": "%"}, [1]),
        ({"actor": "", "q": ""}, [3, 2, 1]),
        ({"actor": "nobody"}, []),
    ],
)
async def test_a_filter_finds_what_it_says(
    client: httpx.AsyncClient, engine: Engine, query: dict[str, str], found: list[int]
) -> None:
    add_entries(engine)
    assert await _ids(client, **query) == found
    lines = (await client.get("/audit.ndjson", params=query)).text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == found[::-1]


async def test_a_time_has_its_first_moment_and_not_its_last(client: httpx.AsyncClient, engine: Engine) -> None:
    moment = ago(days=3).replace(microsecond=0)
    with engine.begin() as connection:
        who = {"actor": "ann", "actor_kind": "token", "source": "x", "action": "a", "object_kind": "k"}
        connection.execute(
            insert(AuditEntry),
            [{**who, "object_name": "n", "at": moment + timedelta(hours=hours)} for hours in range(3)],
        )
    until = (moment + timedelta(hours=1)).isoformat()
    assert await _ids(client, since=moment.isoformat(), until=until) == [1]
    assert await _ids(client, since=until) == [3, 2]


async def test_pages_follow_each_other_while_new_entries_come(client: httpx.AsyncClient, engine: Engine) -> None:
    for _ in range(2):
        add_entries(engine)
    first = (await client.get("/audit", params={"limit": 4})).json()
    add_entries(engine)
    second = (await client.get("/audit", params={"limit": 4, "cursor": first["next_cursor"]})).json()
    assert [entry["id"] for page in (first, second) for entry in page["entries"]] == [6, 5, 4, 3, 2, 1]
    assert second["next_cursor"] is None


async def test_an_entry_says_all_of_it(client: httpx.AsyncClient, engine: Engine) -> None:
    add_entries(engine)
    entry = (await client.get("/audit", params={"q": "sure"})).json()["entries"][0]
    assert entry.pop("at")
    assert entry == {
        "id": 1,
        "actor": "ann",
        "actor_kind": "token",
        "source": "10.0.0.7",
        "action": "change",
        "object_kind": "pipeline",
        "object_id": "7",
        "object_name": "Orders",
        "before": {"owner": "x"},
        "after": {"owner": "100%_sure"},
        "request_id": None,
    }


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"since": "yesterday"}, {"q": "x\x00"}, {"actor": "a" * 301}],
)
async def test_a_wrong_question_is_422(client: httpx.AsyncClient, query: dict[str, Any]) -> None:
    assert (await client.get("/audit", params=query)).status_code == 422


async def test_a_long_trail_is_downloaded_whole(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection, acting_as(ANN):
        record(connection, *(Change("create", "token", number, f"token {number}") for number in range(1_203)))
    answer = await client.get("/audit.ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["object_id"] for line in answer.text.splitlines()] == [
        str(number) for number in range(1_203)
    ]


@pytest.mark.parametrize("path", ["/audit", "/audit.ndjson", "/ui/audit"])
async def test_only_administrators_read_it(make_client: MakeClient, engine: Engine, path: str) -> None:
    add_entries(engine)
    with engine.begin() as connection:
        tokens = {scope: create_token(connection, f"of {scope}", scope) for scope in ("read", "write", "admin")}
    async with make_client() as client:
        for scope, token in tokens.items():
            answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == (200 if scope == "admin" else 403)
            assert ("Orders" in answer.text) is (scope == "admin")
        assert (await client.get(path)).status_code == 401


def test_entries_that_are_old_are_deleted_in_batches(engine: Engine) -> None:
    with engine.begin() as connection:
        who = {"actor": "ann", "actor_kind": "token", "source": "x", "action": "a", "object_kind": "k"}
        ages = [*range(395, 405), 0, 1]
        connection.execute(
            insert(AuditEntry), [{**who, "object_name": str(age), "at": ago(days=age, minutes=1)} for age in ages]
        )
    assert delete_old(engine, 400, batch=2) == 5
    with engine.connect() as connection:
        left = connection.execute(AuditEntry.__table__.select()).all()
    assert sorted(int(row.object_name) for row in left) == [0, 1, 395, 396, 397, 398, 399]
