"""The page of one pipeline, as somebody uses it who was alerted."""

import re
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Locator, Page, expect
from sqlalchemy import text

from tests.support.rows import add_pipeline, add_run, ago, now
from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site

# Of a pipeline that no other test is about: its newest anomaly within what the charts show.
_ANOMALY = """
SELECT run.pipeline_id, result.id FROM anomaly_detection_result AS result
JOIN pipeline_execution AS run ON run.id = result.pipeline_execution_id
WHERE run.pipeline_id <> :anomalous AND result.metric_field = 'inserts' ORDER BY run.start_date DESC, result.id LIMIT 1
"""


def _find_anomaly(site: Site) -> tuple[int, int]:
    with site.engine().connect() as connection:
        pipeline, result = connection.execute(text(_ANOMALY), {"anomalous": site.ids["anomalous"]}).one()
    return pipeline, result


async def _answer(page: Page, button: str) -> None:
    await page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()


async def _find_ring(page: Page, chart: Locator) -> None:
    """Move the mouse along the chart until it is on an anomaly."""
    box = await chart.bounding_box()
    assert box is not None
    for step in range(0, int(box["width"]), 2):
        await page.mouse.move(box["x"] + step, box["y"] + box["height"] / 2)
        if await page.locator(".over-anomaly").count():
            return
    pytest.fail("no point of the chart is an anomaly")


async def test_an_anomaly_is_looked_at_accepted_and_taken_back(open_page: OpenPage, demo_site: Site, axe: Axe) -> None:
    pipeline, result = _find_anomaly(demo_site)
    page = await open_page(f"/ui/pipelines/{pipeline}")
    inserts = page.get_by_role("region", name="Inserts")
    await expect(inserts.locator("canvas")).to_be_visible()
    await expect(inserts).to_contain_text(re.compile("Of a run now, .* is expected|Learning"))

    await page.locator(f'a[data-anomaly="{result}"]').click()
    panel = page.get_by_role("article", name="Anomaly of inserts")
    await expect(panel).to_be_focused()
    await expect(panel).to_contain_text("flagged beyond")
    await expect(page).to_have_url(re.compile(f"anomaly={result}"))
    await axe(page)

    await panel.get_by_role("button", name="Accept as new normal").click()
    await expect(page.get_by_role("dialog")).to_contain_text("Earlier runs no longer count")
    await _answer(page, "Cancel")
    await panel.get_by_role("button", name="Accept as new normal").click()
    await _answer(page, "Accept as new normal")
    await page.get_by_role("status").get_by_role("link", name="Its rule").click()
    await page.get_by_role("link", name="Inserts", exact=True).click()
    await page.get_by_role("button", name="Take it back").click()
    await _answer(page, "Take it back")
    await expect(page.get_by_role("status").first).to_contain_text("count again")


async def test_a_chart_ends_now_and_one_run_is_a_point_of_it(open_page: OpenPage, guarded_site: Site) -> None:
    with guarded_site.engine().begin() as connection:
        pipeline = add_pipeline(connection, "ran once")
        add_run(connection, pipeline, total_rows=1200, end_date=ago(days=3))
    page = await open_page(f"/ui/pipelines/{pipeline}", site=guarded_site, scope="read", timezone="Europe/Berlin")
    chart = page.get_by_role("region", name="Total rows")
    await expect(chart.locator("canvas")).to_be_visible()
    await expect(page.get_by_text("Times in Europe/Berlin")).to_have_count(1)

    over = await chart.locator(".u-over").bounding_box()
    assert over is not None
    today = now().astimezone(ZoneInfo("Europe/Berlin")).date()
    for share, told in ((0.02, "1,200"), (0.98, str(today))):
        await page.mouse.move(over["x"] + share * over["width"], over["y"] + 20)
        await expect(chart.locator(".readout")).to_contain_text(told)


async def test_an_anomaly_opens_from_its_place_in_the_chart(open_page: OpenPage, demo_site: Site) -> None:
    page = await open_page("/ui/pipelines/{anomalous}")
    chart = page.get_by_role("region", name="Inserts").locator(".u-over")
    await _find_ring(page, chart)
    await page.mouse.down()
    await page.mouse.up()
    await expect(page.get_by_role("article", name="Anomaly of inserts")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_role("article", name="Anomaly of inserts")).to_have_count(0)


async def test_a_rule_says_what_will_change(open_page: OpenPage, demo_site: Site, axe: Axe) -> None:
    pipeline, _ = _find_anomaly(demo_site)
    page = await open_page(f"/ui/pipelines/{pipeline}?tab=rules")
    await page.get_by_role("link", name="Inserts", exact=True).click()
    rule = page.get_by_role("region", name="Inserts")
    before = await rule.get_by_label("Z-score").input_value()
    await rule.get_by_label("Z-score").fill("4.5")
    await rule.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("dialog")).to_contain_text(f"z-score from {before} to 4.5")
    await _answer(page, "Save")
    await expect(page.get_by_role("status").first).to_contain_text("The rule is changed")
    await axe(page)


@pytest.mark.parametrize("tab", ["runs", "watermarks", "rules", "lineage", "alerts"])
async def test_every_tab_fits_a_phone_in_the_dark(open_page: OpenPage, axe: Axe, tab: str) -> None:
    page = await open_page(f"/ui/pipelines/{{failed}}?tab={tab}", scheme="dark", width=360)
    await expect(page.locator("#standing")).to_contain_text("The last run failed")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await axe(page)


async def test_without_scripts_a_failure_leads_to_its_run(open_page: OpenPage) -> None:
    page = await open_page("/ui/pipelines/{failed}", javascript=False)
    await expect(page.locator("#standing")).to_contain_text("connection to crm.example:5432 timed out")
    await page.get_by_text("The numbers of these").click()
    await expect(page.get_by_role("region", name="Numbers of the runs")).to_be_visible()
    await page.get_by_role("link", name="Open the failed run").click()
    await expect(page).to_have_url(re.compile("/ui/executions/"))
