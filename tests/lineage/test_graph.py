"""The graph around one address over HTTP."""

from itertools import pairwise
from typing import Any

import httpx
import networkx as nx
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.lineage.graphs import Edge, draw_addresses, draw_edges, stored_closure
from watcher_server.celery_tasks import address_lineage_closure_rebuild_task as rebuild_task
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.lineage.schemas import Direction
from watcher_server.lineage.surroundings import ALL, find_surroundings

# 1 and 2 feed 3, 3 feeds 4, 4 feeds 5; 6 also feeds 4; 1 feeds 5 directly; 7 is alone.
EDGES = [(1, 3), (2, 3), (3, 4), (4, 5), (6, 4), (1, 5)]


async def ask(client: httpx.AsyncClient, address_id: int, **parameters: Any) -> tuple[list[int], list[Edge]]:
    response = await client.get("/lineage-graph/", params={"source_address_id": address_id, **parameters})
    assert response.status_code == 200, response.text
    graph = response.json()
    edges = [(edge["source_address_id"], edge["target_address_id"]) for edge in graph["edges"]]
    return [node["id"] for node in graph["nodes"]], edges


async def test_of_too_many_edges_those_among_the_nearest_addresses_are_there(
    client: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watcher_server.lineage.graph.MOST_EDGES", 3)
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)

    near = (await client.get("/lineage-graph/?source_address_id=5")).json()

    assert near["truncated"] is True
    edges = [(edge["source_address_id"], edge["target_address_id"]) for edge in near["edges"]]
    assert edges == [(1, 3), (1, 5), (4, 5)]
    assert len(near["nodes"]) == 6


async def test_a_pipeline_of_the_greatest_size_makes_an_answer_of_a_few_megabytes(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    draw_addresses(engine, 641)
    sources, targets = range(2, 322), range(322, 642)
    draw_edges(engine, [(1, source) for source in sources] + [(s, t) for s in sources for t in targets])

    answer = await client.get("/lineage-graph/?source_address_id=1")

    assert answer.json()["truncated"] is True
    assert (len(answer.json()["edges"]), len(answer.json()["nodes"])) == (20_000, 641)
    assert len(answer.content) < 8_000_000


async def test_it_has_the_shape_that_clients_read(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 2)
    draw_edges(engine, [(1, 2)])

    graph = (await client.get("/lineage-graph/?source_address_id=1")).json()

    assert graph["nodes"][0] == {
        "id": 1,
        "name": "address 1",
        "display_name": None,
        "address_type_name": "table",
        "address_type_group_name": "database",
        "address_metadata": None,
        "depth": 0,
        "status": "unknown",
        "hidden_upstream": 0,
        "hidden_downstream": 0,
    }
    assert graph["truncated"] is False
    assert graph["edges"] == [
        {
            "source_address_id": 1,
            "target_address_id": 2,
            "depth": 1,
            "lineage_path": [1, 2],
            "pipeline_id": 1,
            "pipeline_name": "one",
            "pipeline_type_name": "type",
            "pipeline_metadata": None,
            "pipeline_active": True,
            "origin": "declared",
        }
    ]


async def test_it_holds_ancestors_descendants_and_the_edges_among_them_before_any_task(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)

    assert await ask(client, 3) == ([1, 2, 3, 4, 5], [(1, 3), (1, 5), (2, 3), (3, 4), (4, 5)])
    assert await ask(client, 7) == ([7], [])


@pytest.mark.parametrize(
    ("direction", "depth", "nodes"),
    [
        ("upstream", None, [1, 2, 3, 4, 6]),
        ("upstream", 1, [3, 4, 6]),
        ("downstream", None, [4, 5]),
        ("both", 1, [3, 4, 5, 6]),
        ("both", 2, [1, 2, 3, 4, 5, 6]),
        ("both", 1000, [1, 2, 3, 4, 5, 6]),
    ],
)
async def test_direction_and_depth_bound_it(
    client: httpx.AsyncClient, engine: Engine, direction: str, depth: int | None, nodes: list[int]
) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)
    bound = {} if depth is None else {"depth": depth}

    assert (await ask(client, 4, direction=direction, **bound))[0] == nodes


async def test_each_node_says_how_far_it_is_and_what_is_hidden_beyond(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)
    draw_edges(engine, [(3, 4), (7, 7)], 2)

    graph = (await client.get("/lineage-graph/?source_address_id=3&depth=1")).json()

    nodes = {node["id"]: (node["depth"], node["hidden_upstream"], node["hidden_downstream"]) for node in graph["nodes"]}
    # 1 also feeds 5, 4 is also fed by 6 and feeds 5.
    assert nodes == {1: (-1, 0, 1), 2: (-1, 0, 0), 3: (0, 0, 0), 4: (1, 1, 1)}
    assert graph["truncated"] is False


async def test_a_limit_keeps_the_nearest(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)

    async def ask_within(limit: int) -> tuple[list[int], bool]:
        parameters = {"source_address_id": 3, "limit": limit}
        graph = (await client.get("/lineage-graph/", params=parameters)).json()
        return [node["id"] for node in graph["nodes"]], graph["truncated"]

    assert await ask_within(1) == ([3], True)
    assert await ask_within(3) == ([1, 2, 3], True)
    assert await ask_within(4) == ([1, 2, 3, 4], True)
    assert await ask_within(5) == ([1, 2, 3, 4, 5], False)
    assert (await ask(client, 3, limit=3))[1] == [(1, 3), (2, 3)]


async def test_in_a_cycle_an_address_is_as_far_as_the_shorter_way(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 4)
    draw_edges(engine, [(1, 2), (2, 3), (3, 4), (4, 1)])

    graph = (await client.get("/lineage-graph/?source_address_id=1")).json()

    assert {node["id"]: node["depth"] for node in graph["nodes"]} == {1: 0, 2: 1, 3: 2, 4: -1}


async def test_cycles_and_self_edges_end(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 3)
    cycle = [(1, 1), (1, 2), (2, 3), (3, 1)]
    draw_edges(engine, cycle)

    assert await ask(client, 1) == ([1, 2, 3], cycle)
    assert await ask(client, 1, depth=1000) == ([1, 2, 3], cycle)


async def test_a_long_chain_is_read_whole_in_few_statements(
    client: httpx.AsyncClient, engine: Engine, database_url: str
) -> None:
    draw_addresses(engine, 300)
    draw_edges(engine, [*pairwise(range(1, 301)), (300, 1), (7, 50)])
    reading, sent = create_async_engine(sqlalchemy_url(database_url)), []
    event.listen(reading.sync_engine, "before_cursor_execute", lambda *about: sent.append(about[2]))
    async with AsyncSession(reading) as session:
        found = await find_surroundings(session, 1, Direction.DOWNSTREAM, ALL, limit=280)
    await reading.dispose()

    graph = nx.DiGraph([*pairwise(range(1, 301)), (300, 1), (7, 50)])
    expected = nx.single_source_shortest_path_length(graph, 1)
    nearest = sorted(expected, key=lambda address: (expected[address], address))[:280]
    assert found.distance == {address: expected[address] for address in nearest}
    assert found.truncated
    assert len(sent) == 1
    assert len((await ask(client, 150))[0]) == 300


async def test_a_shared_edge_appears_once_per_pipeline(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 2)
    draw_edges(engine, [(1, 2)], 1)
    draw_edges(engine, [(1, 2)], 2)

    edges = (await client.get("/lineage-graph/?source_address_id=2")).json()["edges"]

    assert [edge["pipeline_name"] for edge in edges] == ["one", "two"]


async def test_an_edge_says_whether_its_pipeline_is_active(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 2)
    for pipeline_id in (1, 2):
        draw_edges(engine, [(1, 2)], pipeline_id)
    await client.patch("/pipeline", json={"id": 2, "active": False, "pipeline_metadata": {"Owner": "Ana"}})

    edges = (await client.get("/lineage-graph/?source_address_id=1")).json()["edges"]

    told = [(edge["pipeline_active"], edge["pipeline_metadata"]) for edge in edges]
    assert told == [(True, None), (False, {"Owner": "Ana"})]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("source_address_id=9", 404),
        ("", 422),
        ("source_address_id=x", 422),
        ("source_address_id=0", 404),
        (f"source_address_id={2**64}", 422),
        ("source_address_id=1&depth=0", 422),
        ("source_address_id=1&depth=1001", 422),
        ("source_address_id=1&limit=0", 422),
        ("source_address_id=1&limit=10001", 422),
        ("source_address_id=1&direction=sideways", 422),
    ],
)
async def test_a_question_that_cannot_be_answered(client: httpx.AsyncClient, query: str, status: int) -> None:
    assert (await client.get(f"/lineage-graph/?{query}")).status_code == status


async def test_the_addresses_to_choose_from(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 3)

    everything = (await client.get("/lineage-graph/addresses")).json()
    some = (await client.get("/lineage-graph/addresses", params={"limit": 1, "offset": 1, "name": "ADDRESS"})).json()

    assert everything == [{"id": n, "name": f"address {n}"} for n in (1, 2, 3)]
    assert some == [{"id": 2, "name": "address 2"}]


async def test_a_refresh_mends_the_whole_closure(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 3)
    draw_edges(engine, [(1, 2)])
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO address_lineage_closure VALUES (3, 1, 1, '{3,1}')"))

    answer = await client.post("/lineage-graph/refresh")
    with engine.connect() as connection:
        rebuild_task(**connection.scalar(text("SELECT kwargs FROM outbox")))

    assert answer.json()["status"] == "success"
    assert set(stored_closure(engine)) == {(1, 1), (2, 2), (3, 3), (1, 2)}
