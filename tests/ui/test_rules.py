"""A rule for a pipeline without one, in a browser: suggested, tried on its past, and saved."""

import random
import re
from datetime import timedelta

from playwright.async_api import expect

from tests.support.rows import add_pipeline, add_run, now
from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site


def _add_pipeline(site: Site) -> int:
    """A pipeline that ran every hour for forty days, with a night without rows in it."""
    last = now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    noise = random.Random(1)  # noqa: S311 - the same in each run
    with site.engine().begin() as connection:
        pipeline_id = add_pipeline(connection, "hourly orders")
        for hours in range(24 * 40):
            started = last - timedelta(hours=hours)
            usual = 1_000 * (2 + (started.hour in range(8, 18))) + round(noise.gauss(0, 30))
            rows = 0 if 50 <= hours < 53 else usual
            add_run(
                connection,
                pipeline_id,
                total_rows=rows,
                start_date=started,
                end_date=started + timedelta(minutes=5),
                hour_recorded=started.hour,
            )
    return pipeline_id


async def test_a_rule_is_suggested_tried_and_saved(open_page: OpenPage, empty_site: Site, axe: Axe) -> None:
    pipeline_id = _add_pipeline(empty_site)
    page = await open_page(f"/ui/pipelines/{pipeline_id}?tab=rules", site=empty_site)
    await page.get_by_label("Metric").select_option("total_rows")
    await page.get_by_role("button", name="Suggest").click()
    new = page.get_by_role("region", name="Judge total rows")
    await expect(new.locator(".why")).to_contain_text(re.compile("runs every 1h.*the hour"))
    await expect(new.get_by_label("Method")).to_have_value("seasonal")

    await new.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("region", name=re.compile("would have raised"))
    await expect(preview).to_contain_text("1 alert in 90 days")
    await expect(preview.get_by_role("img")).to_have_count(3)
    await expect(preview.locator(".chosen circle")).to_have_count(3)
    await axe(page)

    await page.get_by_label("Holidays").fill("2026-12-24")
    await page.get_by_role("button", name="Create the rule").click()
    await expect(page.get_by_role("status").first).to_contain_text("The rule is there")
    rule = page.get_by_role("row", name=re.compile("Total rows"))
    await expect(rule).to_contain_text("learning: 21 of 21")
    await expect(rule).to_contain_text("1 a month at most")
