"""Answers stay within bounds, also of what was stored before there were any."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.rows import add_pipeline, add_run
from watcher_server.database.metadata import MOST_BYTES_PER_ANSWER
from watcher_server.executions import tree
from watcher_server.web.executions.facts import read_metadata

MEBIBYTE = 1024 * 1024
LARGE = {"log": "x" * (2 * MEBIBYTE)}
SMALL = {"rows": [1, 2.5, "três"], "ok": True}


def _is_marker(metadata: Any) -> bool:
    return isinstance(metadata, dict) and metadata.keys() == {"truncated", "bytes"} and metadata["truncated"] is True


@pytest.fixture
def runs(engine: Engine) -> list[int]:
    """A root with two children, the first with two mebibytes of metadata, stored before there was a limit."""
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, "orders", pipeline_metadata=LARGE)
        add_pipeline(connection, "bills", pipeline_metadata=SMALL)
        root = add_run(connection, pipeline, execution_metadata=SMALL)
        large = add_run(connection, pipeline, parent_id=root, execution_metadata=LARGE)
        return [root, large, add_run(connection, pipeline, parent_id=root, execution_metadata=SMALL)]


async def test_a_list_marks_what_is_too_large_and_one_object_is_whole(
    client: httpx.AsyncClient, runs: list[int]
) -> None:
    for query in ("", "?newest_first=true"):
        listed = (await client.get(f"/pipeline_execution{query}")).json()
        by_id = {run["id"]: run["execution_metadata"] for run in listed}
        assert list(by_id) == (sorted(runs, reverse=True) if query else runs)
        assert (by_id[runs[0]], by_id[runs[2]]) == (SMALL, SMALL)
        assert _is_marker(by_id[runs[1]])
        assert by_id[runs[1]]["bytes"] >= 2 * MEBIBYTE

    assert (await client.get(f"/pipeline_execution/{runs[1]}")).json()["execution_metadata"] == LARGE


async def test_a_tree_marks_what_is_too_large_below_its_top(client: httpx.AsyncClient, runs: list[int]) -> None:
    top = (await client.get(f"/pipeline_execution/{runs[0]}")).json()

    assert top["execution_metadata"] == SMALL
    assert [_is_marker(run["execution_metadata"]) for run in top["child_executions"]] == [True, False]
    assert "truncated" not in top


@pytest.mark.usefixtures("runs")
async def test_pipelines_are_listed_alike(client: httpx.AsyncClient) -> None:
    large, small = (await client.get("/pipeline")).json()

    assert _is_marker(large["pipeline_metadata"])
    assert small["pipeline_metadata"] == SMALL
    assert (await client.get(f"/pipeline/{large['id']}")).json()["pipeline_metadata"] == LARGE
    keys = (await client.get(f"/pipeline/{large['id']}")).json().keys()
    # One pipeline has its ping URL too, which a list of many never shows.
    assert large.keys() | {"ping_url"} == keys


async def test_the_metadata_of_an_answer_is_bounded_as_a_whole(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, "orders")
        # Hexadecimal digits, so that PostgreSQL does not compress them away.
        connection.execute(
            text("""
            INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded, execution_metadata)
            SELECT :pipeline, now(), current_date, 0, jsonb_build_object('log', repeat(md5(n::text), 1900))
            FROM generate_series(1, 200) AS n
            """),
            {"pipeline": pipeline},
        )
    answer = await client.get("/pipeline_execution?limit=1000")

    listed = [_is_marker(run["execution_metadata"]) for run in answer.json()]
    assert len(listed) == 200
    shown = listed.count(False)
    assert listed == [False] * shown + [True] * (200 - shown)
    assert 100 < shown < 140
    assert len(answer.content) < MOST_BYTES_PER_ANSWER + 200 * 1_000


async def test_addresses_and_the_graph_are_bounded(client: httpx.AsyncClient, engine: Engine) -> None:
    metadata = {"note": "x" * 60_000}
    body = {"name": "orders", "pipeline_type_name": "t", "pipeline_metadata": metadata}
    pipeline_id = (await client.post("/pipeline", json=body)).json()["id"]

    def addresses(side: str) -> list[dict[str, str]]:
        return [{"name": f"{side}{n}", "address_type_name": "t", "address_type_group_name": "g"} for n in range(20)]

    lineage = {
        "pipeline_id": pipeline_id,
        "source_addresses": addresses("a"),
        "target_addresses": addresses("b"),
    }
    assert (await client.post("/address_lineage", json=lineage)).status_code == 201
    with engine.begin() as connection:
        large = json.dumps(LARGE)
        connection.execute(text("UPDATE address SET address_metadata = CAST(:large AS jsonb)"), {"large": large})

    listed = await client.get("/address")
    assert {_is_marker(address["address_metadata"]) for address in listed.json()} == {True}
    graph = await client.get("/lineage-graph/?source_address_id=1")
    assert {_is_marker(node["address_metadata"]) for node in graph.json()["nodes"]} == {True}
    # Of the pipeline that would be repeated 20 times it is the whole, of 400 times the marker.
    assert {_is_marker(edge["pipeline_metadata"]) for edge in graph.json()["edges"]} == {False}
    assert len(graph.content) < MOST_BYTES_PER_ANSWER + 400 * 1_000


async def test_a_graph_repeats_metadata_only_as_often_as_an_answer_holds(client: httpx.AsyncClient) -> None:
    body = {"name": "orders", "pipeline_type_name": "t", "pipeline_metadata": {"note": "x" * 60_000}}
    pipeline_id = (await client.post("/pipeline", json=body)).json()["id"]
    kind = {"address_type_name": "t", "address_type_group_name": "g"}
    both = [{"name": f"a{n}", **kind} for n in range(15)]
    lineage = {"pipeline_id": pipeline_id, "source_addresses": both, "target_addresses": both}
    assert (await client.post("/address_lineage", json=lineage)).status_code == 201

    graph = await client.get("/lineage-graph/?source_address_id=1")
    assert len(graph.json()["edges"]) == 225
    assert {_is_marker(edge["pipeline_metadata"]) for edge in graph.json()["edges"]} == {True}


async def test_a_large_tree_keeps_what_is_nearest_to_its_top(
    client: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "MOST_EXECUTIONS", 5)
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, "orders")
        root = add_run(connection, pipeline)
        first = add_run(connection, pipeline, parent_id=root)
        for _ in range(3):
            add_run(connection, pipeline, parent_id=first)
        second = add_run(connection, pipeline, parent_id=root)
    top = (await client.get(f"/pipeline_execution/{root}")).json()

    assert top["truncated"] is True
    assert [child["id"] for child in top["child_executions"]] == [first, second]
    assert len(top["child_executions"][0]["child_executions"]) == 2


async def test_pages_use_twenty_tags_of_fifty_characters(client: httpx.AsyncClient, engine: Engine) -> None:
    tags = [f"tag{n}-" + "x" * 100 for n in range(50_000)]
    with engine.begin() as connection:
        pipeline = add_pipeline(
            connection, "orders", pipeline_metadata={"tags": tags, **{f"k{n}": n for n in range(500)}}
        )
    for path in ("/ui/pipelines", f"/ui/pipelines/{pipeline}"):
        page = (await client.get(path, headers={"Accept": "text/html"})).text
        assert "tag19-" + "x" * 44 in page
        assert "tag20-" not in page
        assert "x" * 46 not in page
        assert len(page) < 200_000


def test_metadata_of_a_run_is_walked_no_further_than_it_is_shown() -> None:
    taken = []

    class Watched(dict[str, Any]):
        def items(self) -> Any:
            for item in super().items():
                taken.append(item)
                yield item

    found = read_metadata(Watched({"k" * 10_000 + str(n): n for n in range(5_000)}))

    assert found.is_cut
    assert len(found.entries) == 300
    assert len(taken) == 301
    assert max(len(entry.path) for entry in found.entries) <= 301
