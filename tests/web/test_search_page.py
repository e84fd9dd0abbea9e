"""The search of every page."""

import httpx
from sqlalchemy import Engine

from tests.support.rows import add_pipeline, add_run

HTML = {"Accept": "text/html"}


async def test_a_search_leads_straight_to_the_one_page_that_fits(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        orders = add_pipeline(connection, "orders daily")
        add_pipeline(connection, "refunds daily")
        run = add_run(connection, orders)
    for wanted in ("ORD", "daily orders"):
        answer = await client.get("/ui/search", params={"q": wanted}, headers=HTML)
        assert answer.headers["location"] == f"/ui/pipelines/{orders}"
    assert (await client.get(f"/ui/search?q=%23{run}", headers=HTML)).headers["location"] == f"/ui/executions/{run}"


async def test_a_search_that_fits_several_lists_pipelines_and_addresses_as_they_were_first_written(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    lineage = {"name": "Shop.Orders", "address_type_name": "postgres", "address_type_group_name": "database"}
    made = (await client.post("/pipeline", json={"name": "Load Orders", "pipeline_type_name": "load"})).json()
    await client.post(
        "/address_lineage",
        json={"pipeline_id": made["id"], "source_addresses": [lineage], "target_addresses": [{**lineage, "name": "b"}]},
    )
    page = (await client.get("/ui/search?q=orders", headers=HTML)).text
    assert f'href="/ui/pipelines/{made["id"]}">Load Orders</a>' in page
    assert ">Shop.Orders</a>" in page
    assert 'name="q" value="orders"' in page


async def test_a_search_for_nothing_and_for_markup_says_what_to_do(client: httpx.AsyncClient, engine: Engine) -> None:
    assert "What are you looking for?" in (await client.get("/ui/search", headers=HTML)).text
    page = await client.get("/ui/search", params={"q": '"><script>'}, headers=HTML)
    assert "Nothing has that in its name" in page.text
    assert '"><script>' not in page.text
    assert (await client.get(f"/ui/search?q={'9' * 18}", headers=HTML)).status_code == 200
