"""Loading the lineage of a pipeline over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.lineage.graphs import Edge, expected_closure, stored_closure
from tests.support.factories import make_pipeline
from watcher_server.celery_tasks import address_lineage_closure_rebuild_task as rebuild_task


def address(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "address_type_name": "postgres", "address_type_group_name": "database", **fields}


async def load(
    client: httpx.AsyncClient, pipeline_id: int, sources: list[str], targets: list[str], **fields: Any
) -> httpx.Response:
    body = {
        "pipeline_id": pipeline_id,
        "source_addresses": [address(name) for name in sources],
        "target_addresses": [address(name) for name in targets],
        **fields,
    }
    return await client.post("/address_lineage", json=body)


def edges(engine: Engine) -> list[tuple[int, str, str]]:
    statement = """
        SELECT pipeline_id, source.name, target.name FROM address_lineage
        JOIN address AS source ON source.id = source_address_id
        JOIN address AS target ON target.id = target_address_id
        ORDER BY 1, 2, 3
    """
    with engine.connect() as connection:
        return [(row[0], row[1], row[2]) for row in connection.execute(text(statement))]


def queued(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT kwargs FROM outbox WHERE task_name LIKE 'address_lineage%' ORDER BY id"))
        return [row[0] for row in rows]


async def test_every_source_feeds_every_target(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)

    answer = await load(client, pipeline_id, ["A", "b"], ["c", "D", " c "])

    assert answer.status_code == 201
    assert answer.json() == {
        "pipeline_id": 1,
        "lineage_relationships_created": 4,
        "message": "lineage relationships created for pipeline 1",
    }
    assert edges(engine) == [(1, "a", "c"), (1, "a", "d"), (1, "b", "c"), (1, "b", "d")]
    assert queued(engine) == [{"connected_addresses": [1, 2, 3, 4], "pipeline_id": 1}]


async def test_a_replacement_keeps_the_rows_that_stay_and_rebuilds_around_both(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    def ids() -> dict[Edge, int]:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT source_address_id, target_address_id, id FROM address_lineage"))
            return {(source, target): id_ for source, target, id_ in rows}

    pipeline_id = await make_pipeline(client)
    await load(client, pipeline_id, ["a", "b"], ["c"])
    before = ids()
    answer = await load(client, pipeline_id, ["a"], ["c", "d"])

    assert answer.json()["lineage_relationships_created"] == 2
    assert edges(engine) == [(1, "a", "c"), (1, "a", "d")]
    assert ids()[1, 3] == before[1, 3]
    assert queued(engine)[1] == {"connected_addresses": [1, 2, 3, 4], "pipeline_id": 1}
    for message in queued(engine):
        rebuild_task(**message)
    assert stored_closure(engine) == expected_closure([1, 2, 3, 4], [(1, 3), (1, 4)])


@pytest.mark.parametrize(
    "broken",
    [
        # What a rebuild that failed leaves: an edge that it did not add, one that it did not remove, sources left over.
        "DELETE FROM address_lineage_closure WHERE depth = 1",
        "INSERT INTO address_lineage_closure VALUES (3, 1, 1, ARRAY[3, 1])",
        "INSERT INTO address_lineage_pending VALUES (2)",
        # What changed meanwhile.
        "UPDATE address_lineage SET origin = 'openlineage' WHERE source_address_id = 2",
        "INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id) VALUES (1, 3, 3)",
        "UPDATE address SET fingerprint = '' WHERE id = 2",
    ],
)
async def test_a_load_that_changes_nothing_queues_a_rebuild_only_where_one_is_due(
    client: httpx.AsyncClient, engine: Engine, broken: str
) -> None:
    pipeline_id = await make_pipeline(client)
    await load(client, pipeline_id, ["a", "b"], ["c"])
    rebuild_task(**queued(engine)[0])

    again = await load(client, pipeline_id, ["B", "a", "a"], ["c"])
    assert (again.status_code, again.json()["lineage_relationships_created"]) == (201, 2)
    assert len(queued(engine)) == 1

    with engine.begin() as connection:
        connection.execute(text(broken))
    assert (await load(client, pipeline_id, ["a", "b"], ["c"])).json() == again.json()
    assert len(queued(engine)) == 2
    rebuild_task(**queued(engine)[1])
    assert edges(engine) == [(1, "a", "c"), (1, "b", "c")]
    assert stored_closure(engine) == expected_closure([1, 2, 3], [(1, 3), (2, 3)])


async def test_addresses_of_one_name_that_differ_are_merged(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    body = {
        "pipeline_id": pipeline_id,
        "source_addresses": [address("a", primary_key="id"), address("a", table_name="t")],
        "target_addresses": [address("b")],
    }
    for number in (1, 2):
        assert (await client.post("/address_lineage", json=body)).json()["lineage_relationships_created"] == 1
        assert len(queued(engine)) == number
        rebuild_task(**queued(engine)[-1])


async def test_the_addresses_change_as_if_each_had_been_posted(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    await client.post("/address", json=address("shop.public.orders", primary_key="id"))
    await client.post("/address", json=address("unchanged"))
    body = {
        "pipeline_id": pipeline_id,
        "source_addresses": [address("shop.public.orders", primary_key="first"), address("unchanged")],
        "target_addresses": [address("Shop.Public.Orders", primary_key="Order_Id")],
    }

    answer = await client.post("/address_lineage", json=body)

    orders, unchanged = (await client.get("/address")).json()
    assert answer.json()["lineage_relationships_created"] == 2
    assert (orders["primary_key"], orders["table_name"]) == ("order_id", "orders")
    assert orders["updated_at"] is not None
    assert unchanged["updated_at"] is None


async def test_a_pipeline_that_asks_for_no_lineage_is_left_alone(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    await client.patch("/pipeline", json={"id": pipeline_id, "load_lineage": False})

    answer = await load(client, pipeline_id, ["a"], ["b"])

    assert answer.status_code == 200
    assert answer.json()["lineage_relationships_created"] == 0
    assert "load_lineage" in answer.json()["message"]
    assert (await client.get("/address")).json() == queued(engine) == []


async def test_who_sends_a_changed_lineage_in_vain_is_told_how_to_replace_it(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    pipeline_id = await make_pipeline(client)
    await load(client, pipeline_id, ["a"], ["b"])
    await client.patch("/pipeline", json={"id": pipeline_id, "load_lineage": False})

    refused = await load(client, pipeline_id, ["a"], ["c"])
    replaced = await load(client, pipeline_id, ["a"], ["c"], replace=True)

    assert (refused.status_code, '"replace": true' in refused.json()["what_to_do"]) == (200, True)
    assert (replaced.status_code, replaced.json().get("what_to_do")) == (201, None)
    assert edges(engine) == [(1, "a", "c")]
    assert queued(engine)[1] == {"connected_addresses": [1, 2, 3], "pipeline_id": 1}
    assert (await client.get(f"/pipeline/{pipeline_id}")).json()["load_lineage"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"source_addresses": []},
        {"target_addresses": []},
        {"source_addresses": None},
        {"source_addresses": [{"name": "a"}]},
        {"pipeline_id": 2**63},
        {"pipeline_id": "one"},
    ],
)
async def test_a_bad_body_is_422(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    body = {"pipeline_id": 1, "source_addresses": [address("a")], "target_addresses": [address("b")], **change}

    assert (await client.post("/address_lineage", json=body)).status_code == 422


async def test_an_unknown_pipeline_is_404_and_creates_nothing(client: httpx.AsyncClient) -> None:
    assert (await load(client, 7, ["a"], ["b"])).status_code == 404
    assert (await client.get("/address")).json() == []


async def test_more_edges_than_a_pipeline_can_have_are_422(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    names = [f"a{n}" for n in range(1001)]

    answer = await load(client, pipeline_id, names, names)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "source_addresses"]


async def test_pipelines_with_overlapping_addresses_load_at_once(client: httpx.AsyncClient, engine: Engine) -> None:
    names = [f"address {n}" for n in range(12)]
    pipelines = [await make_pipeline(client, f"pipeline {n}") for n in range(8)]

    def body(pipeline_id: int, turn: int) -> dict[str, Any]:
        # Each in an order of its own, with metadata of its own: every load wants to write every address.
        turned = names[pipeline_id:] + names[:pipeline_id]
        declared = [
            address(name, address_type_name=f"type {name}", primary_key=f"{pipeline_id} {turn}") for name in turned
        ]
        return {"pipeline_id": pipeline_id, "source_addresses": declared[:6], "target_addresses": declared[6:][::-1]}

    for turn in range(3):
        answers = await asyncio.gather(*(client.post("/address_lineage", json=body(p, turn)) for p in pipelines))
        assert {answer.status_code for answer in answers} == {201}

    assert len((await client.get("/address")).json()) == len((await client.get("/address_type")).json()) == 12
    assert len(edges(engine)) == 8 * 36


async def test_two_loads_of_one_pipeline_take_turns(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    sides = [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]]

    answers = await asyncio.gather(*(load(client, pipeline_id, side, side) for side in sides * 3))

    assert {answer.status_code for answer in answers} == {201}
    assert len(edges(engine)) == 4
    assert len({name for _, source, target in edges(engine) for name in (source, target)}) == 2
