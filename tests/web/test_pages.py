"""The pages that show what the API knows."""

import re
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert

from tests.support.rows import add_pipeline, add_run, now
from watcher_server.addresses.models import Address, AddressType
from watcher_server.lineage.models import AddressLineage

PAGES = ("/reporting", "/lineage-graph", "/diagnostics", "/login")


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_loads_nothing_from_elsewhere_and_runs_no_script(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.findall(r'(?:src|href)="(?:https?:)?//', answer.text) == []
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", answer.text)


async def test_the_stylesheet_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/static/watcher.css")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in answer.text


async def test_an_empty_watcher_says_what_to_do_next(client: httpx.AsyncClient) -> None:
    assert "POST /pipeline" in (await client.get("/reporting")).text
    assert "POST /address_lineage" in (await client.get("/lineage-graph")).text


async def test_the_report_is_a_table_with_pages(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        for name in ("<b>bold</b>", "orders"):
            pipeline = add_pipeline(connection, name)
            moment = now() - timedelta(days=1)
            add_run(connection, pipeline, start_date=moment, end_date=moment, inserts=1_234_567, duration_seconds=1)

    page = (await client.get("/reporting?page_size=1")).text

    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page
    assert "1,234,567" in page
    older = re.search(r'rel="next" href="([^"]+)"', page)
    assert older is not None
    second = (await client.get(older[1].replace("&amp;", "&"))).text
    assert "<td>orders</td>" in second
    assert 'rel="prev"' in second


async def test_a_filter_without_a_match_says_how_to_go_on(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
    page = (await client.get("/reporting", params={"pipeline_name": '"><script>'})).text
    assert "clear the filters" in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    "query",
    [
        "days=x",
        "page=0",
        "page=-1",
        "pipeline_name=%00",
        "pipeline_name=%ff",
        "days=&page=",
        "pipeline_name=" + "x" * 151,
    ],
)
@pytest.mark.parametrize("path", ["/reporting", "/lineage-graph", "/diagnostics", "/login"])
async def test_odd_parameters_never_break_a_page(client: httpx.AsyncClient, path: str, query: str) -> None:
    assert (await client.get(f"{path}?{query}&source_address_id={query}&next={query}")).status_code in {200, 422}


def _chain(connection: Connection) -> None:
    """raw → staging → mart, with raw → raw and mart → raw, so that there are a self edge and a cycle."""
    connection.execute(insert(AddressType).values(name="postgres", group_name="database"))
    names = ("raw", "staging", "mart", "alone")
    connection.execute(insert(Address).values([{"name": name, "address_type_id": 1} for name in names]))
    pipeline = add_pipeline(connection, "load", active=False)
    for source, target in ((1, 2), (2, 3), (3, 1), (1, 1)):
        edge = {"pipeline_id": pipeline, "source_address_id": source, "target_address_id": target}
        connection.execute(insert(AddressLineage).values(edge))


async def test_lineage_shows_what_is_above_and_below_even_in_a_cycle(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _chain(connection)

    assert "Choose an address" in (await client.get("/lineage-graph")).text
    page = (await client.get("/lineage-graph?source_address_id=2")).text
    above, below = page.split("Downstream:")

    assert "Upstream: what feeds staging" in above
    for half in (above, below):
        assert half.count("<tr>\n<td>") == 4
    assert "(inactive)" in page


async def test_an_address_without_lineage_and_one_that_is_unknown(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _chain(connection)
    assert "Nothing does." in (await client.get("/lineage-graph?source_address_id=4")).text
    assert "There is no such address" in (await client.get("/lineage-graph?source_address_id=99")).text
