"""What somebody does on the pages of incidents, at night, by keyboard or without scripts."""

import re
from typing import Any

from playwright.async_api import Locator, Page, expect
from sqlalchemy import text

from tests.incidents.records import add_incident
from tests.support.rows import add_pipeline, add_run, ago
from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site

FAILS = "Watcher's own task fails"


def _add(site: Site, subject: str, **fields: Any) -> int:
    """An incident that no sweep ends while the test runs."""
    with site.engine().begin() as connection:
        opened = {"level": "CRITICAL", "opened_at": ago(hours=1)}
        return add_incident(connection, None, "task", subject=subject, detail=FAILS, **{**opened, **fields})


def _card(page: Page, incident_id: int) -> Locator:
    return page.locator(f"#incident-{incident_id}")


async def test_acknowledging_and_snoozing_by_keyboard(open_page: OpenPage, demo_site: Site, axe: Axe) -> None:
    found = _add(demo_site, "keyboard_task")
    page = await open_page("/ui/incidents?q=keyboard_task")
    await page.get_by_role("button", name=f"Acknowledge #{found}").press("Enter")
    await expect(page).to_have_url(re.compile(r"q=keyboard_task&done=acknowledged$"))
    await expect(page.get_by_role("status").first).to_contain_text("acknowledged in your name")
    await expect(_card(page, found)).to_contain_text("acknowledged by loopback")

    await _card(page, found).locator("summary").press("Enter")
    await axe(page)
    await _card(page, found).get_by_role("button", name="until it is worse").press("Enter")
    await expect(_card(page, found)).to_contain_text("snoozed until it is worse")


async def test_tomorrow_is_in_the_zone_of_the_viewer(open_page: OpenPage, demo_site: Site) -> None:
    found = _add(demo_site, "zone_task")
    page = await open_page("/ui/incidents?q=zone_task", timezone="Asia/Tokyo")
    await _card(page, found).locator("summary").click()
    await _card(page, found).get_by_role("button", name="until tomorrow 09:00").first.click()
    await expect(_card(page, found).locator(".marks time")).to_contain_text("09:00")


async def test_several_are_acknowledged_at_once_without_scripts(open_page: OpenPage, demo_site: Site) -> None:
    found = [_add(demo_site, f"bulk_task_{number}") for number in range(3)]
    page = await open_page("/ui/incidents?q=bulk_task", javascript=False)
    for each in found[:2]:
        await page.get_by_label(f"Select #{each},").check()
    await page.get_by_label("selected", exact=False).and_(page.locator("select")).select_option("acknowledge-4h")
    await page.get_by_role("button", name="Do it").click()
    await expect(page.get_by_role("status").first).to_contain_text("2 incidents are acknowledged")
    for each in found[:2]:
        await expect(_card(page, each)).to_contain_text("acknowledged by loopback")
    await expect(_card(page, found[2])).not_to_contain_text("acknowledged by")


async def test_what_is_ticked_or_opened_stays_so_while_the_list_lives(open_page: OpenPage, demo_site: Site) -> None:
    found = _add(demo_site, "ticked_task")
    page = await open_page("/ui/incidents?q=ticked_task")
    await expect(page.get_by_role("button", name="Do it")).to_be_hidden()
    await page.get_by_label(f"Select #{found},").check()
    await _card(page, found).locator("summary").click()
    async with page.expect_response(lambda answer: "selected=" in answer.url):
        await page.evaluate("htmx.trigger('#incidents', 'live')")
    await expect(page.locator("#incidents")).not_to_have_class(re.compile("htmx-request"))
    await expect(page.get_by_label(f"Select #{found},")).to_be_checked()
    await expect(_card(page, found).locator("details")).to_have_attribute("open", "")
    await expect(page.locator("#selected-count")).to_have_text("1")
    await expect(page.get_by_role("button", name="Do it")).to_be_visible()


async def test_who_is_slower_is_told_what_is_so_now(open_page: OpenPage, demo_site: Site) -> None:
    found = _add(demo_site, "race_task")
    page = await open_page("/ui/incidents?q=race_task")
    with demo_site.engine().begin() as connection:
        taken = "UPDATE incident SET state = 'acknowledged', acknowledged_by = 'ada', version = 2 WHERE id = :id"
        connection.execute(text(taken), {"id": found})
    await page.get_by_role("button", name=f"Acknowledge #{found}").click()
    await expect(page.get_by_role("alert")).to_contain_text("is acknowledged now by ada")
    await expect(_card(page, found)).to_contain_text("acknowledged by ada")


async def test_from_the_list_to_the_incident_and_resolving_it_after_a_warning(
    open_page: OpenPage, demo_site: Site, axe: Axe
) -> None:
    with demo_site.engine().begin() as connection:
        pipeline = add_pipeline(connection, "nightly export")
        add_run(connection, pipeline, completed_successfully=False)
        add_incident(connection, pipeline, "failing")
    page = await open_page("/ui/incidents?q=nightly+export", width=360, scheme="dark")
    await page.get_by_role("link", name="nightly export is failing").click()
    await expect(page.locator("h1")).to_have_text("nightly export is failing")
    await page.get_by_role("button", name="Resolve", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("It still holds")
    await axe(page)
    await page.get_by_role("button", name="Resolve it all the same").click()
    await expect(page.locator("h1")).to_have_text("nightly export was failing")
    await expect(page.locator(".standing")).to_contain_text("by hand, after")


async def test_a_comment_that_is_being_written_is_not_lost(open_page: OpenPage, demo_site: Site) -> None:
    found = _add(demo_site, "comment_task")
    page = await open_page(f"/ui/incidents/{found}")
    comment = page.get_by_label("Write what you know")
    await comment.fill("It was the disk.")
    await comment.blur()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await page.wait_for_timeout(300)
    assert asked == []
    await expect(comment).to_have_value("It was the disk.")
    await page.get_by_role("button", name="Add to the timeline").click()
    await expect(page.locator(".timeline .commented")).to_contain_text("It was the disk.")


async def test_causes_and_effects_can_be_followed(open_page: OpenPage, demo_site: Site) -> None:
    root = _add(demo_site, "root_task")
    effect = _add(demo_site, "effect_task", root_id=root, told_at=None)
    page = await open_page("/ui/incidents")
    await expect(_card(page, effect)).to_have_count(0)
    await _card(page, root).get_by_text("1 more is wrong because of it").click()
    await page.get_by_role("link", name="Task effect_task fails").click()
    await expect(page.locator(".causes svg").first).to_be_visible()
    await page.locator(".causes").get_by_role("link", name="Task root_task fails").click()
    await expect(page).to_have_url(re.compile(rf"/ui/incidents/{root}$"))


async def test_from_the_navigation_and_on_to_what_was_sent(open_page: OpenPage) -> None:
    page = await open_page("/ui")
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Incidents").click()
    await expect(page.locator("h1")).to_have_text("Incidents")
    await page.get_by_role("link", name="Messages that were sent").click()
    await expect(page.locator("h1")).to_have_text("Alerts")
    await expect(page.locator("nav [aria-current]")).to_contain_text("Incidents")
