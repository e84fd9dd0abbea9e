"""Diagnostics: from what is wrong to where it is, and to a bug report."""

import re

from playwright.async_api import expect
from sqlalchemy import text

from tests.ui.conftest import OpenPage
from tests.ui.support.site import Site


async def test_from_the_verdict_to_the_check_and_its_numbers(open_page: OpenPage) -> None:
    page = await open_page("/diagnostics")
    # The demo's scene has a task that failed.
    await page.get_by_role("link", name="Tasks and alerts: tasks failed in 24 hours").click()
    await expect(page).to_have_url(re.compile("#tasks$"))
    row = page.locator("#tasks tr", has_text="Tasks failed in 24 hours")
    await expect(row).to_be_in_viewport()
    await expect(row.get_by_text("watcher tasks retry --all-failed")).to_be_visible()
    await page.get_by_role("link", name="Failed tasks").click()
    await expect(page).to_have_url(re.compile("state=FAILURE"))


async def test_what_was_opened_stays_open_while_the_page_keeps_itself_fresh(
    open_page: OpenPage, demo_site: Site
) -> None:
    page = await open_page("/diagnostics")
    await page.locator("#indexes > summary").click()
    await expect(page.get_by_role("rowheader", name="ix_pipeline_execution_baseline")).to_be_visible()

    engine = demo_site.engine()
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE freshness_pipeline_log IN ACCESS EXCLUSIVE MODE"))
        await page.evaluate("htmx.trigger('#diagnostics', 'live')")
        await expect(page.locator("#tables")).to_contain_text("locked by another session")
    await expect(page.get_by_role("rowheader", name="ix_pipeline_execution_baseline")).to_be_visible()


async def test_the_report_is_copied(open_page: OpenPage) -> None:
    page = await open_page("/diagnostics")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy report").click()
    await expect(page.get_by_role("status").filter(has_text="Copied.")).to_be_visible()
    report = await page.evaluate("navigator.clipboard.readText()")
    assert report.startswith("Watcher ")
    assert "Tables and indexes" in report


async def test_without_a_clipboard_the_report_is_shown_to_be_copied(open_page: OpenPage) -> None:
    page = await open_page("/diagnostics")
    # As over plain HTTP from another machine.
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    await page.get_by_role("button", name="Copy report").click()
    area = page.get_by_label("Copy this text")
    await expect(area).to_be_focused()
    await expect(area).to_have_value(re.compile("^Watcher "))
    await page.get_by_role("button", name="Close").click()
    await expect(area).to_have_count(0)
