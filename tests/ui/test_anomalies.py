"""The anomalies in a browser: from a bar of the chart to a run, and saying that it was nothing."""

import re

from playwright.async_api import expect

from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site


async def test_a_day_leads_to_its_events_and_an_event_to_its_runs(open_page: OpenPage, axe: Axe) -> None:
    page = await open_page("/ui/anomalies")
    await expect(page.get_by_role("heading", name=re.compile(r"\d+ events in 30 days"))).to_be_visible()
    await page.locator("svg.days a").last.focus()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"day=\d{4}-\d\d-\d\d"))
    await expect(page.locator(".only")).to_contain_text("latest run was on")

    event = page.locator(".events > tbody").first
    await event.locator("summary").click()
    run = event.locator("details tbody tr").first
    await expect(run).to_contain_text(re.compile(r"[+-]\d+\.\d"))
    await axe(page)
    execution = run.get_by_role("link")
    number = await execution.inner_text()
    await execution.click()
    await expect(page).to_have_url(re.compile(rf"/ui/executions/{number}$"))


async def test_an_event_is_unflagged_after_a_question(open_page: OpenPage, demo_site: Site) -> None:
    page = await open_page("/ui/anomalies?days=90&direction=low")
    events = page.locator(".events > tbody")
    before = await events.count()
    # Not the one that other tests look at.
    worst = page.locator(demo_site.path('a[href="/ui/executions/{anomalous_execution}"]'))
    event = events.filter(has_not=worst).last
    mark = await event.get_attribute("id")
    unflag = event.get_by_role("button", name=re.compile("^Unflag( all)?$"))
    await unflag.click()
    question = page.get_by_role("dialog")
    await expect(question).to_contain_text("Was this no anomaly?")
    await question.get_by_role("button", name="Cancel").click()
    await expect(question).to_be_hidden()
    await expect(events).to_have_count(before)

    await unflag.click()
    await question.get_by_role("button", name="Unflag").click()
    await expect(page.locator(f"#{mark}")).to_have_count(0)
    await expect(page).to_have_url(re.compile(r"\?days=90&direction=low&cleared="))
    await page.get_by_role("status").get_by_role("button", name="Undo").click()
    await expect(page.locator(f"#{mark}")).to_be_visible()
    await expect(page).to_have_url(re.compile(r"\?direction=low&days=90$"))


async def test_a_level_is_accepted_and_taken_back(open_page: OpenPage, demo_site: Site) -> None:
    page = await open_page("/ui/anomalies?days=90&direction=low")
    worst = page.locator(demo_site.path('a[href="/ui/executions/{anomalous_execution}"]'))
    event = page.locator(".events > tbody").filter(has_not=worst).last
    mark = await event.get_attribute("id")
    await event.get_by_role("button", name="Accept").click()
    await page.get_by_role("dialog").get_by_role("button", name="Accept").click()
    await expect(page.locator(f"#{mark}")).to_have_count(0)

    await page.get_by_role("link", name="Accepted", exact=True).click()
    await page.locator(f"#{mark}").get_by_role("button", name="Take back").click()
    question = page.get_by_role("dialog")
    await expect(question).to_contain_text("The normal from before holds again")
    await question.get_by_role("button", name="Take back").click()
    await expect(page.locator(f"#{mark}")).to_have_count(0)
    await page.get_by_role("link", name="Not accepted", exact=True).click()
    await expect(page.locator(f"#{mark}")).to_be_visible()


async def test_filters_work_without_scripts(open_page: OpenPage) -> None:
    page = await open_page("/ui/anomalies", javascript=False)
    await page.get_by_label("Pipeline").fill("no such pipeline")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator(".empty")).to_contain_text("No event matches")
    await page.get_by_role("link", name=re.compile("Show every event")).click()
    await expect(page.locator(".events > tbody").first).to_be_visible()
