"""The page of what is archived."""

import httpx

from tests.lineage.test_load import load
from tests.support.factories import make_pipeline

HTML = {"Accept": "text/html"}


async def test_what_a_page_archives_its_archive_brings_back(client: httpx.AsyncClient) -> None:
    await make_pipeline(client, "Old Orders")
    await load(client, 1, ["Source"], ["Target"])
    assert "/ui/archive/pipeline/1" in (await client.get("/ui/pipelines/1", headers=HTML)).text
    details = "/lineage-graph/details?source_address_id=1&selected=2"
    assert "/ui/archive/address/2" in (await client.get(details, headers=HTML)).text

    for path in ("pipeline/1", "address/2"):
        archived = await client.post(f"/ui/archive/{path}", headers=HTML)
        assert (archived.status_code, archived.headers["location"]) == (303, "/ui/archive")
    page = (await client.get("/ui/archive", headers=HTML)).text
    assert "Old Orders" in page
    assert "Target" in page
    assert "Old Orders" not in (await client.get("/ui/pipelines", headers=HTML)).text
    assert "Archived" in (await client.get("/ui/pipelines/1", headers=HTML)).text

    for path in ("pipeline/1", "address/2"):
        assert (await client.post(f"/ui/archive/{path}/restore", headers=HTML)).status_code == 303
    page = (await client.get("/ui/archive", headers=HTML)).text
    assert "Old Orders" not in page
    assert page.count("None is archived") == 2
    assert "Old Orders" in (await client.get("/ui/pipelines", headers=HTML)).text


async def test_where_nothing_is_there_nothing_can_be_archived(client: httpx.AsyncClient) -> None:
    assert (await client.post("/ui/archive/pipeline/7", headers=HTML)).status_code == 404
    assert (await client.post("/ui/archive/address/7/restore", headers=HTML)).status_code == 404
