"""The report in a browser: names that complete themselves, charts, pages, and the file."""

import csv
import re
from pathlib import Path

from playwright.async_api import expect

from tests.ui.conftest import Axe, OpenPage


async def test_a_name_completes_itself_and_narrows_the_report(open_page: OpenPage, axe: Axe) -> None:
    page = await open_page("/reporting")
    await expect(page.locator(".chart canvas")).to_have_count(2)
    name = page.get_by_label("Pipeline", exact=True)
    await name.press_sequentially("ledger")
    await expect(page.locator("#names option")).to_have_count(1)
    await expect(page.locator("#names option")).to_have_attribute("value", "payments ledger")
    await name.fill("payments ledger")
    await name.press("Enter")

    await expect(page).to_have_url(re.compile("pipeline_name=payments\\+ledger"))
    rows = page.locator("table.report tbody tr")
    await expect(rows.first).to_contain_text("payments ledger")
    await expect(rows.filter(has_not_text="payments ledger")).to_have_count(0)
    await page.get_by_text("Day by day").click()
    await expect(page.locator(".report-days tfoot")).to_contain_text("Total")
    await axe(page)


async def test_pages_go_on_and_come_back_without_scripts(open_page: OpenPage) -> None:
    page = await open_page("/reporting?page_size=25", javascript=False)
    rows = page.locator("table.report tbody tr")
    first = await rows.first.inner_text()
    await page.get_by_role("link", name="Older").click()
    await expect(page).to_have_url(re.compile("after="))
    await expect(rows).to_have_count(25)
    assert await rows.first.inner_text() != first
    await page.get_by_role("link", name="Newer").click()
    await expect(rows.first).to_have_text(re.compile(re.escape(first.split("\t", maxsplit=1)[0])))
    assert await rows.first.inner_text() == first


async def test_the_file_has_what_the_page_shows(open_page: OpenPage, tmp_path: Path) -> None:
    page = await open_page("/reporting?pipeline_name=payments+ledger&days=7")
    shown = await page.locator("table.report tbody tr").count()
    async with page.expect_download() as started:
        await page.get_by_role("link", name="CSV of all rows").click()
    download = await started.value
    assert re.fullmatch(
        r"watcher-daily-pipeline-metrics-\d{4}-\d\d-\d\d-to-\d{4}-\d\d-\d\d\.csv", download.suggested_filename
    )
    await download.save_as(tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == shown
    assert {row["pipeline_name"] for row in rows} == {"payments ledger"}


async def test_a_month_has_its_totals_for_each_pipeline_beside_the_month_before(open_page: OpenPage) -> None:
    page = await open_page("/reporting")
    month = await page.evaluate("new Date().toISOString().slice(0, 7)")
    await page.get_by_label("Month").fill(month)
    await page.get_by_role("button", name="Show").click()
    await expect(page).to_have_url(re.compile(f"month={month}"))
    await page.get_by_text("By pipeline", exact=True).click()
    await expect(page.locator("#by-pipeline tbody tr").first).to_be_visible()
    await expect(page.locator("#by-pipeline")).to_contain_text("Before is ")
