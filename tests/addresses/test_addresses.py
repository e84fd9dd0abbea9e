"""Addresses and address types over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.factories import make_pipeline

TABLE = {"name": " Shop.Public.Orders ", "address_type_name": "Postgres", "address_type_group_name": "Database"}
PARTS = ("database_name", "schema_name", "table_name")


async def stored(client: httpx.AsyncClient, address_id: int = 1) -> dict[str, Any]:
    response = await client.get(f"/address/{address_id}")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_a_new_address_is_201_and_the_same_again_is_200(client: httpx.AsyncClient) -> None:
    first = await client.post("/address", json=TABLE)
    again = await client.post("/address", json=TABLE)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == {"id": 1}
    assert (await stored(client))["updated_at"] is None


async def test_twenty_at_once_make_one_address(client: httpx.AsyncClient, engine: Engine) -> None:
    answers = await asyncio.gather(*(client.post("/address", json=TABLE) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_new_address_reaches_itself_at_once(client: httpx.AsyncClient, engine: Engine) -> None:
    await client.post("/address", json=TABLE)

    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM address_lineage_closure")).all()
    assert [tuple(row) for row in rows] == [(1, 1, 0, [1])]


async def test_a_dotted_name_in_a_database_names_its_parts(client: httpx.AsyncClient) -> None:
    await client.post("/address", json={**TABLE, "table_name": "orders_v2"})

    assert [(await stored(client))[part] for part in PARTS] == ["shop", "public", "orders_v2"]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("shop.public.orders", "storage"),
        ("shop.orders", "database"),
        ("a.b.c.d", "database"),
        ("shop..orders", "database"),
        (f"shop.public.{'t' * 51}", "database"),
    ],
)
async def test_any_other_name_fills_nothing(client: httpx.AsyncClient, name: str, group: str) -> None:
    body = {"name": name, "address_type_name": "place", "address_type_group_name": group}
    assert (await client.post("/address", json=body)).status_code == 201

    assert [(await stored(client))[part] for part in PARTS] == [None, None, None]


async def test_a_repost_changes_what_it_carries_and_keeps_the_rest(client: httpx.AsyncClient) -> None:
    await client.post("/address", json={**TABLE, "primary_key": "id", "address_metadata": {"Owner": "Ana"}})
    await client.patch("/address", json={"id": 1, "schema_name": "archive"})

    await client.post("/address", json={**TABLE, "address_metadata": {"Owner": ["Bo", None, 1.5]}})
    kept = await stored(client)
    await client.post("/address", json={**TABLE, "primary_key": None, "table_name": None})
    cleared = await stored(client)

    assert kept["address_metadata"] == {"Owner": ["Bo", None, 1.5]}
    assert (kept["primary_key"], kept["schema_name"], kept["table_name"]) == ("id", "archive", "orders")
    assert kept["updated_at"] is not None
    assert (cleared["primary_key"], cleared["table_name"]) == (None, None)
    assert cleared["address_metadata"] == kept["address_metadata"]


async def test_a_repost_does_not_fill_in_what_was_cleared(client: httpx.AsyncClient) -> None:
    await client.post("/address", json=TABLE)
    await client.post("/address", json={**TABLE, "table_name": None})

    await client.post("/address", json={**TABLE, "primary_key": "id"})

    address = await stored(client)
    assert [address[part] for part in (*PARTS, "primary_key")] == ["shop", "public", None, "id"]


async def test_a_part_can_be_empty(client: httpx.AsyncClient) -> None:
    answer = await client.post("/address", json={**TABLE, "name": "topic", "schema_name": "  ", "primary_key": ""})

    assert answer.status_code == 201
    address = await stored(client)
    assert [address[part] for part in (*PARTS, "primary_key")] == [None, "", None, ""]


async def test_one_address_as_source_and_target_keeps_what_either_says(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    source = {**TABLE, "primary_key": "id", "address_metadata": {"Owner": "Ana"}}
    target = {**TABLE, "table_name": "sales", "address_metadata": {"Owner": "Bo"}}
    body = {"pipeline_id": pipeline_id, "source_addresses": [source], "target_addresses": [target]}

    first = await client.post("/address_lineage", json=body)
    created = await stored(client)
    again = await client.post("/address_lineage", json={**body, "source_addresses": [{**source, "primary_key": "key"}]})
    changed = await stored(client)

    assert (first.status_code, first.json()["lineage_relationships_created"], again.status_code) == (201, 1, 201)
    assert [created[part] for part in (*PARTS, "primary_key")] == ["shop", "public", "sales", "id"]
    assert created["address_metadata"] == {"Owner": "Bo"}
    assert (changed["primary_key"], changed["table_name"]) == ("key", "sales")


async def test_the_type_is_created_when_missing_and_its_group_is_left_alone(client: httpx.AsyncClient) -> None:
    await client.post("/address", json=TABLE)
    await client.post("/address", json={**TABLE, "name": "other", "address_type_group_name": "elsewhere"})
    await client.post("/address", json={**TABLE, "address_type_name": "mysql"})

    types = (await client.get("/address_type")).json()

    assert [(row["name"], row["group_name"]) for row in types] == [("postgres", "database"), ("mysql", "database")]
    assert (await stored(client))["address_type_id"] == types[1]["id"]


async def test_lists_page_and_filter(client: httpx.AsyncClient) -> None:
    for name, kind, group in [("a_1", "s3", "storage"), ("b%1", "postgres", "database"), ("a_2", "s3", "storage")]:
        body = {"name": name, "address_type_name": kind, "address_type_group_name": group}
        await client.post("/address", json=body)

    async def names(**parameters: Any) -> list[str]:
        return [row["name"] for row in (await client.get("/address", params=parameters)).json()]

    assert await names() == ["a_1", "b%1", "a_2"]
    assert await names(limit=1, offset=1) == ["b%1"]
    assert await names(name="A_") == ["a_1", "a_2"]
    assert await names(name="%") == ["b%1"]
    assert await names(group=" Storage ") == ["a_1", "a_2"]
    assert await names(address_type_id=2) == ["b%1"]
    assert [row["name"] for row in (await client.get("/address_type", params={"group": "storage"})).json()] == ["s3"]


@pytest.mark.parametrize("path", ["address", "address_type"])
async def test_a_patch_needs_an_id_or_a_name_that_exists(client: httpx.AsyncClient, path: str) -> None:
    neither = await client.patch(f"/{path}", json={})
    unknown = await client.patch(f"/{path}", json={"id": 7})
    unnamed = await client.patch(f"/{path}", json={"name": "nobody"})
    missing = await client.get(f"/{path}/7")

    assert neither.status_code == 422
    assert "Either 'id' or 'name' must be provided" in neither.text
    assert {unknown.status_code, unnamed.status_code, missing.status_code} == {404}


async def test_a_patch_changes_only_what_it_carries(client: httpx.AsyncClient) -> None:
    await client.post("/address", json={**TABLE, "primary_key": "id"})

    answer = await client.patch("/address", json={"name": "Shop.Public.Orders", "table_name": "sales"})
    renamed = await client.patch("/address", json={"id": 1, "name": "Sales"})

    assert (answer.json()["table_name"], answer.json()["primary_key"]) == ("sales", "id")
    assert answer.json()["updated_at"] is not None
    assert renamed.json()["name"] == "sales"


@pytest.mark.parametrize(("path", "field"), [("/address", "address_type_id"), ("/address_type", "group_name")])
async def test_null_for_what_cannot_be_null_is_422(client: httpx.AsyncClient, path: str, field: str) -> None:
    await client.post("/address", json=TABLE)

    assert (await client.patch(path, json={"id": 1, field: None})).status_code == 422


async def test_a_taken_name_is_400_and_an_unknown_type_404(client: httpx.AsyncClient) -> None:
    for name in ("one", "two"):
        body = {"name": name, "address_type_name": name, "address_type_group_name": "group"}
        await client.post("/address", json=body)

    taken = await client.patch("/address", json={"id": 1, "name": "two"})
    taken_type = await client.patch("/address_type", json={"id": 1, "name": "two"})
    unknown_type = await client.patch("/address", json={"id": 1, "address_type_id": 99})

    assert (taken.status_code, taken.json()["detail"]) == (400, "Address name already exists")
    assert (taken_type.status_code, taken_type.json()["detail"]) == (400, "Address type name already exists")
    assert unknown_type.status_code == 404


async def test_an_address_type_is_posted_changed_and_read(client: httpx.AsyncClient) -> None:
    first = await client.post("/address_type", json={"name": " S3 ", "group_name": "Storage"})
    same = await client.post("/address_type", json={"name": "s3", "group_name": "storage"})
    before = (await client.get("/address_type/1")).json()
    moved = await client.post("/address_type", json={"name": "s3", "group_name": "lake"})
    after = (await client.get("/address_type/1")).json()

    assert [first.status_code, same.status_code, moved.status_code] == [201, 200, 200]
    assert (before["group_name"], before["updated_at"]) == ("storage", None)
    assert after["group_name"] == "lake"
    assert after["updated_at"] is not None


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 151},
        {"name": "nul\x00"},
        {"address_type_name": None},
        {"schema_name": "x" * 51},
        {"address_metadata": [1]},
        {"address_metadata": {"n": 2**63}},
    ],
)
async def test_a_bad_body_is_422(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    assert (await client.post("/address", json={**TABLE, **change})).status_code == 422


async def test_an_address_that_turns_out_to_be_in_a_database_gets_its_parts(client: httpx.AsyncClient) -> None:
    mistaken = {"name": "d.s.t", "address_type_name": "files", "address_type_group_name": "storage"}
    await client.post("/address", json={**mistaken, "schema_name": "own"})

    await client.post("/address", json={**mistaken, "address_type_name": "pg", "address_type_group_name": "database"})

    stored = (await client.get("/address/1")).json()
    assert [stored[part] for part in PARTS] == ["d", "own", "t"]


WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%address%'
"""


@pytest.mark.parametrize(
    "rename", ["UPDATE address_type SET name = 'renamed'", "UPDATE address SET name = 'renamed' WHERE id = 1"]
)
async def test_a_change_survives_a_rename_that_it_had_to_wait_for(
    client: httpx.AsyncClient, engine: Engine, rename: str
) -> None:
    await client.post("/address", json=TABLE)

    with engine.connect() as other, engine.connect() as observer:
        other.execute(text("SELECT FROM address FOR NO KEY UPDATE"))
        change = asyncio.create_task(client.post("/address", json={**TABLE, "primary_key": "id"}))
        async with asyncio.timeout(20):
            while not observer.scalar(text(WAITING)):
                observer.rollback()
                await asyncio.sleep(0.05)
        other.execute(text(rename))
        other.commit()
        answer = await change

    assert answer.status_code in {200, 201}
    stored = (await client.get(f"/address/{answer.json()['id']}")).json()
    assert (stored["name"], stored["primary_key"]) == ("shop.public.orders", "id")
