"""The lineage page as the server writes it."""

import json
import re
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.lineage.graphs import draw_addresses, draw_edges, rebuild_closure
from tests.support.checks import run_checks
from tests.support.rows import add_run

# 1 and 2 feed 3, 3 feeds 4, 4 feeds 5; 6 also feeds 4; 1 feeds 5 directly; 7 is alone.
EDGES = [(1, 3), (2, 3), (3, 4), (4, 5), (6, 4), (1, 5)]
HOSTILE = '"><script>alert(1)</script>'


async def show(client: httpx.AsyncClient, query: str, status: int = 200) -> str:
    answer = await client.get(f"/lineage-graph{query}", headers={"Accept": "text/html"})
    assert answer.status_code == status, answer.text
    return answer.text


def drawn(page: str) -> dict[str, Any]:
    """What the drawing is made from."""
    found = re.search(r'<script type="application/json" id="lineage-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    graph: dict[str, Any] = json.loads(found[1])
    return graph


def shown(page: str) -> list[int]:
    """The addresses of the drawing; the tables have the same."""
    ids = sorted(node["id"] for node in drawn(page)["nodes"])
    assert sorted(int(number) for number in re.findall(r'<tr data-address="(\d+)"', page)) == ids
    return ids


def link(page: str, address: int, which: str) -> str:
    """The query of a link in the row of an address."""
    row = page.partition(f'<tr data-address="{address}"')[2].partition("</tr>")[0]
    found = re.search(rf'<a data-view data-{which} href="/lineage-graph([^"]+)"', row)
    assert found is not None, row
    return unescape(found[1])


def close(engine: Engine, addresses: int) -> None:
    with engine.begin() as connection:
        rebuild_closure(connection, range(1, addresses + 1))


async def test_nothing_known_yet_says_what_to_do(client: httpx.AsyncClient) -> None:
    page = await show(client, "")
    assert "POST /address_lineage" in page
    assert "Most connected" not in page


async def test_the_start_offers_hubs_and_where_data_comes_in(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)

    hubs, _, roots = (await show(client, "")).partition("Where data comes in")

    # 1 and 3 to 5 have most neighbours; nobody writes 1, 2, 6; 7 is in no lineage.
    assert re.findall(r">(address \d)<", hubs) == [f"address {number}" for number in (3, 4, 1, 5, 2, 6)]
    assert re.findall(r">(address \d)<", roots) == [f"address {number}" for number in (1, 2, 6)]
    assert "In trouble now" not in hubs


async def test_the_start_names_what_is_in_trouble_and_how_much_lies_below(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, [(2, 3)], 1)
    draw_edges(engine, [(3, 4), (3, 5)], 2)
    close(engine, 7)
    with engine.begin() as connection:
        add_run(connection, 1, completed_successfully=False)
        add_run(connection, 2)
    run_checks(engine)

    trouble = (await show(client, "")).partition("In trouble now")[2].partition("Most connected")[0]

    assert re.findall(r">(address \d)<", trouble) == ["address 3"]
    assert "failing" in trouble
    assert '<td class="number">2</td>' in trouble


async def test_a_search_without_scripts_leads_to_a_list(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 30)

    page = await show(client, "?q=ADDRESS 2")

    assert re.findall(r'<li><a href="/lineage-graph\?source_address_id=(\d+)"', page)[:2] == ["2", "12"]
    assert "address 21" in page
    assert "address 30" not in page
    assert "No address has that in its name" in await show(client, "?q=ledger")


async def test_a_completion_finds_all_words_in_any_order_and_no_more_than_twenty(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    draw_addresses(engine, 30)
    with engine.begin() as connection:
        connection.execute(text("UPDATE address SET name = 'shop_a%b.public' WHERE id = 5"))

    async def find(wanted: str) -> tuple[list[int], bool]:
        found = (await client.get("/lineage-graph/search", params={"q": wanted})).json()
        return [address["id"] for address in found["addresses"]], found["more"]

    assert await find("public A%B") == ([5], False)
    assert await find("shop%public") == ([], False)
    assert await find("") == ([], False)
    found, more = await find("address")
    assert (len(found), more) == (20, True)
    # What is shorter is nearer to what was typed.
    assert found[:3] == [1, 2, 3]


async def test_one_hop_each_way_is_what_one_sees_first(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)

    page = await show(client, "?source_address_id=3")

    assert "<h1>Lineage of address 3</h1>" in page
    assert shown(page) == [1, 2, 3, 4]
    above, below = page.split("Downstream: what it feeds")
    assert "Upstream: what feeds it" in above
    assert re.findall(r'data-select="(\d)"', below) == ["4"]
    assert {node["id"]: (node["hiddenUpstream"], node["hiddenDownstream"]) for node in drawn(page)["nodes"]} == {
        1: (0, 1),
        2: (0, 0),
        3: (0, 0),
        4: (1, 1),
    }


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("direction=upstream", [1, 2, 3]),
        ("direction=downstream&depth=2", [3, 4, 5]),
        ("depth=2", [1, 2, 3, 4, 5]),
        ("expanded=4u", [1, 2, 3, 4, 6]),
        ("expanded=3u1", [1, 3, 4]),
        ("expanded=3u0,4d", [3, 4, 5]),
        ("depth=3&expanded=4d0", [1, 2, 3, 4]),
        ("expanded=,4,u4,4u-1,99u,4x,99999999999999999999u", [1, 2, 3, 4]),
    ],
)
async def test_direction_depth_and_what_is_expanded_bound_it(
    client: httpx.AsyncClient, engine: Engine, query: str, ids: list[int]
) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)

    assert shown(await show(client, f"?source_address_id=3&{query}")) == ids


async def test_of_many_neighbours_ten_are_shown_and_ten_more_with_each_step(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    draw_addresses(engine, 30)
    draw_edges(engine, [(1, other) for other in range(2, 31)])

    few = await show(client, "?source_address_id=1")
    more = await show(client, link(few, 1, 'more="d"'))
    everything = await show(client, link(more, 1, 'more="d"'))
    nothing = await show(client, link(everything, 1, 'less="d"'))

    assert [len(shown(page)) for page in (few, more, everything, nothing)] == [11, 21, 30, 1]
    assert "+19 more" in few
    assert "+29 more" in nothing


async def test_cycles_and_self_edges_end(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 3)
    draw_edges(engine, [(1, 1), (1, 2), (2, 3), (3, 1)])

    page = await show(client, "?source_address_id=1&depth=1000")

    assert {node["id"]: node["hops"] for node in drawn(page)["nodes"]} == {1: 0, 2: 1, 3: -1}
    assert len(drawn(page)["edges"]) == 4


async def test_pipelines_between_the_same_two_addresses_are_one_edge(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 2)
    for pipeline_id in (1, 2, 3):
        draw_edges(engine, [(1, 2)], pipeline_id)
    await client.patch("/pipeline", json={"id": 2, "active": False})

    page = await show(client, "?source_address_id=2")

    assert drawn(page)["edges"] == [{"source": 1, "target": 2, "pipelines": [1, 2, 3]}]
    assert drawn(page)["pipelines"]["2"] == {"name": "two", "active": False}
    assert '<a href="/ui/pipelines/2">two</a> <span class="muted">(inactive)</span>' in page


async def test_a_path_is_shown_with_all_that_lies_on_it(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, [(1, 2), (2, 3), (3, 4), (4, 5)])
    close(engine, 7)

    page = await show(client, "?source_address_id=1&from=5&to=1")
    none = await show(client, "?source_address_id=1&from=1&to=7")

    assert drawn(page)["path"] == [1, 2, 3, 4, 5]
    assert shown(page) == [1, 2, 3, 4, 5]
    assert "Path of 4 hops" in page
    assert "No data flows between address 1 and address 7" in none
    assert "choose the other end" in await show(client, "?source_address_id=1&from=2")


async def test_more_than_can_be_shown_is_cut_off_and_said(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 602)
    draw_edges(engine, [(1, other) for other in range(2, 603)])

    page = await show(client, "?source_address_id=1&expanded=1d600")

    assert len(shown(page)) == 500
    assert "there are more" in page
    assert "there are more" not in await show(client, "?source_address_id=1")


async def test_the_panel_tells_of_the_chosen_address(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)
    close(engine, 7)
    await client.patch("/address", json={"id": 4, "address_metadata": {"owner": "Ana", "rows": [1, 2]}})

    panel = (await client.get("/lineage-graph/details?source_address_id=3&selected=4")).text
    page = await show(client, "?source_address_id=3&selected=4")

    for place in (panel, page.partition("<aside")[2].partition("</aside>")[0]):
        assert "address 4</h2>" in place
        assert "<dt>owner</dt><dd>Ana</dd>" in place
        assert "<dt>rows</dt><dd>[1, 2]</dd>" in place
        assert re.findall(r'depth=10">(\d+)</a>', place) == ["4", "1"]
        assert 'href="/ui/pipelines/1"' in place
        assert 'href="/lineage-graph?source_address_id=4">Centre here' in place


async def test_its_script_gets_the_parts_only(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 3)
    draw_edges(engine, [(1, 2)])

    part = (await client.get("/lineage-graph?source_address_id=1", headers={"HX-Request": "true"})).text

    assert "<html" not in part
    assert shown(part) == [1, 2]


async def test_names_that_are_markup_are_shown_as_they_are(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 2)
    draw_edges(engine, [(1, 2)])
    with engine.begin() as connection:
        for statement in (
            "UPDATE address SET name = :name WHERE id = 2",
            "UPDATE address SET address_metadata = jsonb_build_object(CAST(:name AS text), CAST(:name AS text))",
            "UPDATE address_type SET name = :name",
            "UPDATE pipeline SET name = :name WHERE id = 1",
        ):
            connection.execute(text(statement), {"name": HOSTILE})

    for query in ("", "?q=script", "?source_address_id=1", "?source_address_id=2"):
        page = await show(client, query)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page
    assert drawn(page)["name"] == HOSTILE


async def test_nothing_on_it_is_inline(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 3)
    draw_edges(engine, [(1, 2)])

    for query in ("", "?source_address_id=1"):
        page = await show(client, query)
        assert not re.search(r"<style|\sstyle=|\son\w+=", page)
        assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []
        scripts = re.findall(r"<script(?! src=)(?! type=\"module\" src=)([^>]*)>", page)
        assert all("application/json" in script for script in scripts)


async def test_an_address_that_is_not_there_and_one_without_lineage(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 2)

    assert "There is no such address" in await show(client, "?source_address_id=9", 404)
    alone = await show(client, "?source_address_id=2")
    assert "Nothing does." in alone
    assert "1 address, 0 edges" in alone
    assert (await client.get("/lineage-graph/details?source_address_id=1&selected=9")).status_code == 404
    assert (await client.get("/lineage-graph/details")).status_code == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("source_address_id=x", 422),
        ("source_address_id=", 422),
        (f"source_address_id={2**64}", 422),
        ("source_address_id=0", 404),
        ("source_address_id=1&depth=0", 422),
        ("source_address_id=1&depth=1001", 422),
        ("source_address_id=1&direction=sideways", 422),
        ("source_address_id=1&selected=99", 200),
        ("source_address_id=1&from=99&to=-1", 200),
        ("source_address_id=1&from=1&to=1", 200),
        ("source_address_id=1&expanded=%00", 200),
        ("source_address_id=1&expanded=" + "1u," * 3_000, 422),
        ("q=%00", 422),
        ("q=" + "x" * 151, 422),
        ("q=%25_%5C", 200),
    ],
)
async def test_odd_parameters_never_break_it(
    client: httpx.AsyncClient, engine: Engine, query: str, status: int
) -> None:
    draw_addresses(engine, 3)
    draw_edges(engine, [(1, 2)])

    await show(client, f"?{query}", status)


async def test_the_api_answers_at_the_same_address_with_a_slash(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 3)
    draw_edges(engine, [(1, 2)])

    answer = await client.get("/lineage-graph/?source_address_id=1", headers={"Accept": "text/html"})

    assert [node["id"] for node in answer.json()["nodes"]] == [1, 2]


async def test_what_lies_below_a_failed_address_is_marked_though_that_one_is_not_shown(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, [(1, 2)], 1)
    draw_edges(engine, [(2, 3), (3, 4), (6, 5), (3, 5)], 2)
    close(engine, 7)
    with engine.begin() as connection:
        add_run(connection, 1, completed_successfully=False)
        add_run(connection, 2)
    run_checks(engine)

    view = "?source_address_id=3&direction=downstream"
    page = await show(client, view)
    assert {node["id"]: node["affected"] for node in drawn(page)["nodes"]} == {3: True, 4: True, 5: True}
    assert "It lies below address 2, which is failing" in page
    assert re.search(r"Affected: it lies below <a [^>]+>address 2</a>, which is failing", page)
    whole = drawn(await show(client, "?source_address_id=3&depth=3"))
    marked = {node["id"] for node in whole["nodes"] if node["affected"]}
    assert marked == {3, 4, 5}

    failing = await show(client, "?source_address_id=3&depth=3&status=failing")
    assert re.findall(r'<tr data-address="(\d)"', failing) == ["3", "2"]
    assert {node["id"] for node in drawn(failing)["nodes"] if not node["faded"]} == {2}
    assert 'status=affected">' in failing


async def test_a_path_survives_the_search_for_its_other_end(client: httpx.AsyncClient, engine: Engine) -> None:
    draw_addresses(engine, 7)
    draw_edges(engine, EDGES)
    close(engine, 7)
    page = await show(client, "?source_address_id=3&from=1")
    kept = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', page))
    assert kept == {"source_address_id": "3", "from": "1", "direction": "both", "depth": "1"}
    found = await show(client, "?source_address_id=3&from=1&direction=both&depth=1&q=address+5")
    link = re.search(r'<a href="/lineage-graph([^"]+)">address 5</a>', found)
    assert link is not None
    assert "Path of 1 hop" in await show(client, unescape(link[1]))
    assert "from=1" in (await show(client, "?source_address_id=3&from=1&selected=4")).partition("Centre here")[0]
