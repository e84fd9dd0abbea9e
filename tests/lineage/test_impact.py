"""What is affected by an address, and what it is made of, over HTTP."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.lineage.graphs import draw_addresses, draw_edges, rebuild_closure
from watcher_server.celery_tasks import address_lineage_closure_rebuild_task as rebuild_task
from watcher_server.lineage.impact import count_downstream, downstream_text

# 1 feeds 2 and 3, both feed 4, 4 feeds 5, 5 feeds 4 back; 6 feeds 5; 7 is alone.
EDGES = [(1, 2), (1, 3), (2, 4), (3, 4), (4, 5), (5, 4), (6, 5)]


@pytest.fixture
def lineage(engine: Engine) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES, 1)
    draw_edges(engine, [(4, 5)], 2)
    rebuild_task(connected_addresses=list(range(1, 8)), pipeline_id=1)


async def ask(client: httpx.AsyncClient, path: str, **parameters: Any) -> tuple[int, list[tuple[int, int]]]:
    response = await client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    reach = response.json()
    return reach["total"], [(address["id"], address["depth"]) for address in reach["addresses"]]


@pytest.mark.usefixtures("lineage")
async def test_downstream_is_told_nearest_first_with_a_path_and_who_writes_it(client: httpx.AsyncClient) -> None:
    reach = (await client.get("/address/1/downstream")).json()

    assert await ask(client, "/address/1/downstream") == (4, [(2, 1), (3, 1), (4, 2), (5, 3)])
    assert reach["address_id"] == 1
    assert reach["addresses"][3] == {
        "id": 5,
        "name": "address 5",
        "address_type_name": "table",
        "address_type_group_name": "database",
        "depth": 3,
        "lineage_path": [1, 2, 4, 5],
        "pipelines": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
    }


@pytest.mark.usefixtures("lineage")
async def test_upstream_is_the_same_the_other_way(client: httpx.AsyncClient) -> None:
    reach = (await client.get("/address/5/upstream")).json()

    assert await ask(client, "/address/5/upstream") == (5, [(4, 1), (6, 1), (2, 2), (3, 2), (1, 3)])
    assert reach["addresses"][4]["lineage_path"] == [1, 2, 4, 5]
    assert reach["addresses"][4]["pipelines"] == []


@pytest.mark.usefixtures("lineage")
async def test_it_comes_in_pages_and_no_further_than_asked(client: httpx.AsyncClient) -> None:
    path = "/address/1/downstream"

    assert await ask(client, path, limit=2, offset=1) == (4, [(3, 1), (4, 2)])
    assert await ask(client, path, offset=9) == (4, [])
    assert await ask(client, path, max_depth=2) == (3, [(2, 1), (3, 1), (4, 2)])
    assert await ask(client, path, max_depth=2, limit=1) == (3, [(2, 1)])
    assert await ask(client, "/address/7/downstream") == (0, [])
    assert await ask(client, "/address/7/upstream") == (0, [])


@pytest.mark.parametrize("way", ["upstream", "downstream"])
@pytest.mark.parametrize(
    ("query", "status"),
    [("99/{}", 404), ("0/{}", 404), ("x/{}", 422), ("1/{}?max_depth=0", 422), ("1/{}?limit=-1", 422)],
)
async def test_a_question_that_cannot_be_answered(
    client: httpx.AsyncClient, lineage: None, way: str, query: str, status: int
) -> None:
    assert (await client.get(f"/address/{query.format(way)}")).status_code == status


def test_downstream_of_a_pipeline_leaves_out_what_it_writes_itself(engine: Engine) -> None:
    draw_addresses(engine, 6)
    draw_edges(engine, [(1, 2), (2, 3)], 1)
    draw_edges(engine, [(3, 4), (4, 5)], 2)
    with engine.begin() as connection:
        rebuild_closure(connection, range(1, 7))

        assert count_downstream(connection, [1, 2, 3]) == {1: 2}
    assert downstream_text(1) == "1 address downstream"
    assert downstream_text(1200) == "1,200 addresses downstream"
    assert downstream_text(0) == ""
