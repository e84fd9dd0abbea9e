"""The list of pipelines in a browser: finding some, changing them in place, by mouse and by keyboard."""

import re

from playwright.async_api import expect

from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site


async def test_search_as_you_type_narrows_the_list_and_its_address(open_page: OpenPage) -> None:
    page = await open_page("/ui/pipelines")
    search = page.get_by_role("searchbox", name="Name")
    await search.press_sequentially("ledger pay")
    await expect(page.locator("#list tbody tr")).to_have_count(1)
    await expect(page.locator("#list")).to_contain_text("payments ledger")
    await expect(page).to_have_url(re.compile(r"/ui/pipelines\?q=ledger\+pay$"))
    await expect(search).to_be_focused()

    await page.reload()
    await expect(page.locator("#list tbody tr")).to_have_count(1)
    await search.fill("")
    await page.get_by_label("Tag", exact=True).select_option("finance")
    await expect(page.locator("#list tbody tr")).to_have_count(2)

    await page.locator(".states").get_by_role("link", name=re.compile("^late")).click()
    await expect(page.locator("#list tbody tr")).to_have_count(1)
    await expect(page).to_have_url(re.compile("tag=finance&state=late"))


async def test_thresholds_are_changed_in_place_after_a_confirmation(open_page: OpenPage, axe: Axe) -> None:
    page = await open_page("/ui/pipelines?q=inventory")
    edit = page.get_by_role("link", name="Edit inventory snapshot")
    await edit.focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("heading", name="Edit inventory snapshot")).to_be_visible()
    await axe(page)

    await dialog.get_by_label("Stale after", exact=True).fill("3")
    await dialog.get_by_role("button", name="Show what changes").click()
    await expect(dialog).to_contain_text("give both")
    await expect(dialog.get_by_label("Stale after", exact=True)).to_be_focused()
    await dialog.get_by_label("Unit of: Stale after").select_option("year")
    await dialog.get_by_label("Muted").last.check()
    await dialog.get_by_role("button", name="Show what changes").click()
    await expect(dialog.locator(".changes tbody tr")).to_have_count(2)
    await expect(dialog.locator(".changes")).to_contain_text("3 years")
    await axe(page)

    await dialog.get_by_role("button", name="Confirm").press("Enter")
    await expect(dialog).to_be_hidden()
    await expect(page.locator("#list tbody")).to_contain_text("muted")
    await expect(page.get_by_title(re.compile("of 3 years"))).to_be_visible()
    await expect(edit).to_be_focused()


async def test_the_next_runs_follow_what_is_typed(open_page: OpenPage, axe: Axe) -> None:
    page = await open_page("/ui/pipelines?q=exchange")
    await page.get_by_role("link", name="Edit exchange rates").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Cron").fill("15 6 * * *")
    await expect(dialog.locator(".next-runs li")).to_have_count(5)
    await dialog.get_by_label("Time zone").fill("America/New_York")
    await expect(dialog.locator(".next-runs li").first).to_contain_text(re.compile("06:15 E[SD]T"))
    await axe(page)
    await dialog.get_by_label("Cron").fill("15 26 * * *")
    await expect(dialog.locator(".next-runs")).to_contain_text("It must be five-field cron")


async def test_without_a_script_one_is_changed_by_pages(open_page: OpenPage) -> None:
    page = await open_page("/ui/pipelines?q=warehouse", javascript=False)
    await page.get_by_role("link", name="Edit warehouse build").click()
    await expect(page.get_by_role("heading", name="Edit warehouse build")).to_be_visible()
    await page.get_by_label("Active").uncheck()
    await page.get_by_role("button", name="Show what changes").click()
    await expect(page.locator(".changes")).to_contain_text("paused")
    await page.get_by_role("button", name="Back").click()
    await expect(page.get_by_label("Active")).not_to_be_checked()
    await page.get_by_role("button", name="Show what changes").click()
    await page.get_by_role("button", name="Confirm").click()
    await expect(page).to_have_url(re.compile(r"/ui/pipelines\?q=warehouse$"))
    await expect(page.locator("#list tbody tr", has_text="warehouse build")).to_contain_text("paused")


async def test_many_are_chosen_and_changed_and_stay_chosen_while_the_list_lives(open_page: OpenPage) -> None:
    page = await open_page("/ui/pipelines?q=stage")
    rows = page.locator("#list tbody tr")
    await expect(rows).to_have_count(4)
    await expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    await page.get_by_label("Select stage prices").check()
    async with page.expect_response(lambda answer: "selected=" in answer.url):
        await page.evaluate("htmx.trigger('#list', 'live')")
    await expect(page.get_by_label("Select stage prices")).to_be_checked()

    await page.get_by_label("Select all on this page").check()
    await expect(page.locator("#selected-count")).to_have_text("4")
    await page.get_by_role("button", name="Mute", exact=True).click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Mute 4 pipelines").click()
    await expect(dialog).to_be_hidden()
    await expect(page.locator("#list .word", has_text="muted")).to_have_count(8)
    await expect(page.locator("#list [name=selected]:checked")).to_have_count(0)


async def test_the_latest_runs_are_reached_by_the_arrow_keys(open_page: OpenPage, demo_site: Site) -> None:
    page = await open_page("/ui/pipelines?q=orders")
    bars = page.locator(".bars a")
    await expect(bars).to_have_count(20)
    await bars.last.focus()
    await page.keyboard.press("ArrowLeft")
    await expect(bars.nth(18)).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await expect(bars.last).to_be_focused()
    await expect(bars.last).to_have_attribute("href", demo_site.path("/ui/executions/{running_execution}"))
