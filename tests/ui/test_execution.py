"""What somebody does on the page of an execution."""

import re

from playwright.async_api import expect

from tests.ui.conftest import OpenPage


async def test_from_the_root_of_a_tree_to_its_failed_step(open_page: OpenPage) -> None:
    page = await open_page("/ui/executions/{tree_execution}")
    tree = page.get_by_role("region", name="Tree of executions")
    await expect(tree.locator("tbody tr")).to_have_count(8)
    await expect(tree.locator("tbody th").first).to_contain_text("warehouse build")
    await expect(tree.locator("svg .bar.failed")).to_have_count(1)

    await tree.get_by_role("link", name="mart returns").click()

    await expect(page.locator("h1")).to_contain_text("mart returns")
    await expect(page.locator(".status.failed").first).to_be_visible()
    current = page.get_by_role("region", name="Tree of executions").locator("tr.current")
    await expect(current).to_contain_text("mart returns")
    await expect(page.locator("tr.above")).to_have_count(2)
    await page.get_by_role("navigation", name="Where this run belongs").get_by_role("link", name="build marts").click()
    await expect(page.locator("h1")).to_contain_text("build marts")
    await expect(page.locator("tbody tr[id^=lane]")).to_have_count(3)
    await page.get_by_role("link", name="whole tree").click()
    await expect(page).to_have_url(re.compile(r"tree=whole"))
    await expect(page.locator("tbody tr[id^=lane]")).to_have_count(8)


async def test_the_axis_is_in_the_zone_of_the_viewer(open_page: OpenPage) -> None:
    ticks = "svg text[data-at] tspan"
    tokyo = await open_page("/ui/executions/{tree_execution}")
    utc = await open_page("/ui/executions/{tree_execution}", javascript=False)
    shown, plain = await tokyo.locator(ticks).all_text_contents(), await utc.locator(ticks).all_text_contents()
    assert plain
    assert [f"{(int(text[:2]) + 9) % 24:02}{text[2:]}" for text in plain] == shown


async def test_a_run_that_goes_on_is_fetched_anew(open_page: OpenPage) -> None:
    page = await open_page("/ui/executions/{running_execution}")
    await expect(page.locator("#execution")).to_have_attribute("data-live", "5")
    async with page.expect_response(lambda answer: "hx-request" in answer.request.headers) as found:
        await page.evaluate("htmx.trigger('#execution', 'live')")
    assert (await found.value).status == 200
    await expect(page.locator("h1")).to_have_count(1)
    await expect(page.locator("#execution")).to_contain_text("still running")


async def test_why_it_failed_and_what_it_caused(open_page: OpenPage) -> None:
    page = await open_page("/ui/executions/{failed_execution}", width=360)
    await expect(page.get_by_role("region", name="Metadata")).to_contain_text("timed out after 30 s")
    await expect(page.get_by_role("region", name="Background tasks")).to_contain_text("Connection timeout")
    await page.get_by_role("link", name="Run before").click()
    await expect(page.locator(".status.completed").first).to_be_visible()
    await page.get_by_role("link", name="Next run").click()
    await expect(page.locator(".status.failed").first).to_be_visible()
