"""Incidents over HTTP: what is listed, changed and refused, and whose name stands in the timeline."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.conftest import MakeClient
from tests.incidents.records import add_incident, events, incident
from tests.support.hostile import MARKUP
from tests.support.rows import add_pipeline, add_run, ago
from watcher_server.auth import service

EMOJI = "🦊" * 150
BIG = 2**63
IN_A_YEAR = (datetime.now(UTC) + timedelta(days=365)).isoformat()


@pytest.fixture
def failing(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = add_pipeline(connection, owner="finance", runbook_url="https://runbook")
        run = add_run(connection, orders, completed_successfully=False, execution_metadata={"error": MARKUP})
        return add_incident(connection, orders, "failing", level="ERROR", execution_id=run, detail=MARKUP)


@pytest.fixture
def token(engine: Engine) -> Iterator[str]:
    with engine.begin() as connection:
        made = service.create_token(connection, "Ada Lovelace", "write")
    yield made
    with engine.begin() as connection:
        service.revoke_token(connection, "Ada Lovelace")


async def patch(client: httpx.AsyncClient, id_: int, **body: Any) -> httpx.Response:
    return await client.patch(f"/incident/{id_}", json={"version": 1, **body})


async def test_a_list_and_one(client: httpx.AsyncClient, failing: int) -> None:
    (listed,) = (await client.get("/incident")).json()
    whole = (await client.get(f"/incident/{failing}")).json()

    assert (listed["id"], listed["kind"], listed["pipeline_name"], listed["owner"]) == (
        failing,
        "failing",
        "orders",
        "finance",
    )
    assert (listed["state"], listed["level"], listed["version"], listed["detail"]) == ("open", "ERROR", 1, MARKUP)
    assert {name: whole[name] for name in listed} == listed
    assert whole.keys() - listed.keys() == {"timeline", "explains", "perhaps", "evidence", "deliveries"}
    assert whole["evidence"]["run"]["error"].startswith("</script>")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 1),
        ("state=live", 1),
        ("state=open&kind=failing&owner=Finance&pipeline_id=1&q=ORDERS", 1),
        ("state=resolved", 0),
        ("kind=stale", 0),
        ("owner=", 1),
        ("q=%20", 1),
        ("tag=none", 0),
        ("root_id=1", 0),
        ("since=2026-01-01", 1),
        ("since=2100-01-01T00:00:00Z", 0),
        ("limit=0", 0),
        ("offset=1", 0),
        (f"pipeline_id={BIG - 1}", 0),
        ("q=%F0%9F%A6%8A%27%22%3Cb%3E%25", 0),
    ],
)
async def test_filters(client: httpx.AsyncClient, failing: int, query: str, found: int) -> None:
    answer = await client.get(f"/incident?{query}")

    assert (answer.status_code, len(answer.json())) == (200, found)


@pytest.mark.parametrize(
    "query",
    [
        "state=closed",
        "kind=broken",
        "since=yesterday",
        f"pipeline_id={BIG}",
        "root_id=x",
        "limit=-1",
        "owner=%00",
        f"owner={'x' * 151}",
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused_in_a_sentence(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/incident?{query}")

    assert answer.status_code == 422
    assert len(answer.json()["detail"]) == 1


@pytest.mark.parametrize(("id_", "status"), [("0", 404), ("-1", 404), (str(BIG - 1), 404), (str(BIG), 422), ("x", 422)])
async def test_unknown_incidents(client: httpx.AsyncClient, id_: str, status: int) -> None:
    path = f"/incident/{id_}"

    assert (await client.get(path)).status_code == status
    assert (await client.patch(path, json={"version": 1, "state": "open"})).status_code == status
    assert (await client.post(f"{path}/comment", json={"text": "hello"})).status_code == status


async def test_a_change_answers_what_is_now(client: httpx.AsyncClient, engine: Engine, failing: int) -> None:
    answer = await patch(client, failing, state="acknowledged", acknowledged_until=IN_A_YEAR, unknown="field")

    found = answer.json()
    assert answer.status_code == 200
    assert (found["state"], found["acknowledged_by"], found["version"]) == ("acknowledged", "loopback", 2)
    again = await patch(client, failing, state="resolved")
    assert (again.status_code, "acknowledged by loopback" in again.json()["detail"]) == (409, True)
    holds = await patch(client, failing, version=2, state="resolved")
    assert (holds.status_code, "still holds" in holds.json()["detail"]) == (409, True)
    forced = await patch(client, failing, version=2, state="resolved", force=True)
    assert (forced.status_code, forced.json()["resolution"], forced.json()["quiet"]) == (200, "hand", True)


async def test_a_moment_without_a_zone_is_utc(client: httpx.AsyncClient, failing: int) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    naive = soon.replace(tzinfo=None).isoformat()
    answer = await patch(client, failing, snooze="time", snoozed_until=naive)

    assert datetime.fromisoformat(answer.json()["snoozed_until"]) == soon


@pytest.mark.parametrize(
    "body",
    [
        {"version": None, "state": "open"},
        {"version": 0, "state": "open"},
        {"version": "x", "state": "open"},
        {"version": 2**31, "state": "open"},
        {},
        {"force": True},
        {"snoozed_until": None},
        {"state": None},
        {"state": "closed"},
        {"state": "live"},
        {"state": "acknowledged", "acknowledged_until": "2020-01-01T00:00:00Z"},
        {"state": "acknowledged", "acknowledged_until": "2200-01-01"},
        {"state": "acknowledged", "acknowledged_until": "tomorrow"},
        {"state": "open", "acknowledged_until": IN_A_YEAR},
        {"state": "resolved", "acknowledged_until": IN_A_YEAR},
        {"acknowledged_until": IN_A_YEAR},
        {"snooze": "time"},
        {"snooze": "forever"},
        {"snooze": "worse", "snoozed_until": IN_A_YEAR},
        {"snoozed_until": IN_A_YEAR},
        {"snooze": "time", "snoozed_until": "2020-01-01"},
        {"state": "resolved", "snooze": "worse"},
        {"assignee": ""},
        {"assignee": "  "},
        {"assignee": "a\nb"},
        {"assignee": "a\x00b"},
        {"assignee": "a\u202eb"},
        {"assignee": "x" * 151},
        {"assignee": 1},
        [],
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, engine: Engine, failing: int, body: Any
) -> None:
    sent = {"version": 1, **body} if isinstance(body, dict) else body
    answer = await client.patch(f"/incident/{failing}", json=sent)

    assert answer.status_code == 422
    with engine.connect() as connection:
        assert (incident(connection, failing)["version"], events(connection, failing)) == (1, [])


@pytest.mark.parametrize("name", ["Ada Lovelace", EMOJI, "<script>alert(1)</script>", "'; DROP TABLE incident; --"])
async def test_a_name_comes_back_as_it_was_sent(client: httpx.AsyncClient, failing: int, name: str) -> None:
    answer = await patch(client, failing, assignee=f" {name} ")

    assert answer.json()["assignee"] == name
    (found,) = (await client.get("/incident", params={"q": name[:150]})).json()
    assert found["id"] == failing


async def test_a_comment_stands_in_the_timeline(client: httpx.AsyncClient, failing: int) -> None:
    said = f"First line\nsecond line {EMOJI} {MARKUP}"
    answer = await client.post(f"/incident/{failing}/comment", json={"text": said})

    assert answer.status_code == 201
    (event,) = (await client.get(f"/incident/{failing}")).json()["timeline"]
    assert event == answer.json()
    assert (event["change"], event["actor"], event["text"]) == ("commented", "loopback", said.strip())


@pytest.mark.parametrize("text", ["", " \n ", "x" * 2_001, "a\x00b", None, 1])
async def test_no_comment_is_empty_or_endless(client: httpx.AsyncClient, failing: int, text: Any) -> None:
    assert (await client.post(f"/incident/{failing}/comment", json={"text": text})).status_code == 422


async def test_of_many_the_answer_says_which_and_why(client: httpx.AsyncClient, engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        over = add_incident(connection, 1, "late", resolved_at=ago(hours=1))
        queue = add_incident(connection, None, "queue", subject="scheduled")
    ids = [{"id": id_, "version": 1} for id_ in (over, failing, 99, queue)]
    answer = (await client.patch("/incident", json={"ids": ids, "snooze": "next_run"})).json()

    assert answer["changed"] == 1
    assert [outcome["id"] for outcome in answer["outcomes"]] == [over, failing, 99, queue]
    assert [outcome["status"] for outcome in answer["outcomes"]] == [409, 200, 404, 422]
    assert answer["outcomes"][1]["incident"]["snooze"] == "next_run"
    assert "is resolved since" in answer["outcomes"][0]["detail"]


@pytest.mark.parametrize(
    "ids",
    [
        [],
        [{"id": 1}],
        [{"id": 1, "version": 1}] * 2,
        [{"id": n, "version": 1} for n in range(1, 502)],
        [{"id": BIG, "version": 1}],
        None,
    ],
)
async def test_many_are_named_once_each_and_not_too_many(client: httpx.AsyncClient, failing: int, ids: Any) -> None:
    assert (await client.patch("/incident", json={"ids": ids, "state": "acknowledged"})).status_code == 422


async def test_five_hundred_at_once(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        made = [add_incident(connection, None, "task", subject=f"task {number}") for number in range(500)]
    ids = [{"id": id_, "version": 1} for id_ in made]
    answer = (await client.patch("/incident", json={"ids": ids, "state": "resolved", "assignee": "Ada"})).json()

    assert answer["changed"] == 500
    assert {outcome["incident"]["state"] for outcome in answer["outcomes"]} == {"resolved"}


async def test_the_actor_is_the_name_of_the_token(
    make_client: MakeClient, engine: Engine, failing: int, token: str
) -> None:
    async with make_client() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        assert (await patch(client, failing, state="acknowledged")).json()["acknowledged_by"] == "Ada Lovelace"
        await client.post(f"/incident/{failing}/comment", json={"text": "mine"})

    with engine.connect() as connection:
        assert [event[1] for event in events(connection, failing)] == ["Ada Lovelace", "Ada Lovelace"]


async def test_a_token_that_may_only_read_changes_nothing(
    make_client: MakeClient, engine: Engine, failing: int
) -> None:
    with engine.begin() as connection:
        made = service.create_token(connection, "reader", "read")
    async with make_client() as client:
        client.headers["Authorization"] = f"Bearer {made}"
        assert (await client.get("/incident")).status_code == 200
        assert (await patch(client, failing, state="acknowledged")).status_code == 403
        assert (await client.post(f"/incident/{failing}/comment", json={"text": "mine"})).status_code == 403
    with engine.begin() as connection:
        service.revoke_token(connection, "reader")
