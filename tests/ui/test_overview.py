"""The overview in a browser: from what is wrong to the run that shows it, and alive without being asked."""

import re

from playwright.async_api import expect

from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site


async def test_from_a_count_to_the_pipelines_that_it_counts(open_page: OpenPage) -> None:
    page = await open_page("/ui")
    tile = page.locator(".tile", has_text="Failing")
    counted = int(await tile.locator(".number").inner_text())
    assert counted > 0
    await tile.click()
    await expect(page).to_have_url(re.compile("/ui/pipelines.*state=failing"))
    await expect(page.locator("#list tbody tr")).to_have_count(counted)


async def test_from_a_failure_to_its_run(open_page: OpenPage, demo_site: Site) -> None:
    page = await open_page("/ui")
    row = page.get_by_role("region", name="What is wrong").locator("tr", has_text="crm contacts")
    await expect(row).to_contain_text("failing")
    await expect(row.locator("time")).to_contain_text("ago")
    await row.get_by_role("link", name="Look at the run").click()
    await expect(page).to_have_url(demo_site.address("/ui/executions/{failed_execution}"))
    await expect(page.locator("h1")).to_contain_text("crm contacts")


async def test_a_run_that_begins_is_seen_without_a_reload(open_page: OpenPage, demo_site: Site) -> None:
    page = await open_page("/ui")
    running = page.locator(".tile", has_text="Running now").locator(".number")
    before = int(await running.inner_text())
    with demo_site.client() as client:
        pipeline = {"name": "began just now", "pipeline_type_name": "extraction"}
        pipeline_id = client.post("/pipeline", json=pipeline).json()["id"]
        execution = client.post("/start_pipeline_execution", json={"pipeline_id": pipeline_id}).json()["id"]
    # The live part is fetched every ten seconds.
    await expect(running).to_have_text(str(before + 1), timeout=30_000)
    await expect(page.locator(f'a[href="/ui/executions/{execution}"]')).to_be_attached()
    with demo_site.client() as client:
        client.post("/end_pipeline_execution", json={"id": execution, "completed_successfully": True})


async def test_when_watcher_does_not_answer_the_page_says_so_and_recovers(open_page: OpenPage) -> None:
    page = await open_page("/ui", expects=("ERR_FAILED", "Failed to load resource", "net::", "htmx:"))
    await page.route("**/ui", lambda route: route.abort())
    await expect(page.get_by_text("No answer from Watcher")).to_be_visible(timeout=30_000)
    await page.unroute("**/ui")
    await expect(page.get_by_text("No answer from Watcher")).to_be_hidden(timeout=30_000)


async def test_on_a_phone_what_is_wrong_is_a_card_each(open_page: OpenPage, axe: Axe) -> None:
    page = await open_page("/ui", width=390, height=844)
    card = page.locator(".trouble tbody tr", has_text="crm contacts")
    await expect(card).to_contain_text("connection to crm.example:5432 timed out")
    region = page.get_by_role("region", name="What is wrong")
    assert await region.evaluate("element => element.scrollWidth <= element.clientWidth")
    await axe(page)
    await card.get_by_role("link", name="Look at the run").click()
    await expect(page).to_have_url(re.compile("/ui/executions/"))
