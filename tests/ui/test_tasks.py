"""The pages of the background tasks, as they are used."""

import re
from datetime import timedelta
from typing import Any

from playwright.async_api import expect
from sqlalchemy import Connection

from tests.support.rows import ago, now
from tests.support.tasks import PROGRESS, add_task, change_task
from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site

TRACEBACK = "Traceback (most recent call last): ..."


def _add_failure(connection: Connection, site: Site, **fields: Any) -> str:
    """A failed task that succeeds when it is run again."""
    about = {"pipeline_id": site.ids["failed"], "pipeline_execution_id": site.ids["failed_execution"]}
    tries = [{"at": ago(minutes=2).isoformat(), "exc_type": "DatabaseError", "exc_message": "Connection timeout"}]
    values = {"kwargs": about, **about, "retries": 1, "history": tries, "traceback": TRACEBACK, **fields}
    return add_task(connection, "FAILURE", **values)


async def test_from_a_failure_in_the_list_to_its_success(open_page: OpenPage, demo_site: Site, axe: Axe) -> None:
    with demo_site.engine().begin() as connection:
        task = _add_failure(connection, demo_site)
    page = await open_page("/ui/tasks")
    await page.get_by_role("combobox", name="State").select_option("failure")
    await page.get_by_role("button", name="Filter").click()
    await expect(page).to_have_url(re.compile("state=FAILURE"))
    await page.locator(f"#task-{task}").get_by_role("link", name="detect_anomalies_task").click()

    await expect(page.locator("main")).to_contain_text("Connection timeout")
    await page.get_by_text("Traceback of the last failed try").press("Enter")
    await expect(page.get_by_text(TRACEBACK)).to_be_visible()
    await axe(page)

    await page.get_by_role("button", name="Run it again").click()
    # The worker takes it, and the page says so by itself.
    await expect(page.locator("#task")).to_have_attribute("data-state", "SUCCESS")
    await expect(page.get_by_role("heading", name="Result")).to_be_visible()
    await expect(page.get_by_role("button", name="Run it again")).to_have_count(0)


async def test_progress_is_seen_as_it_happens(open_page: OpenPage, demo_site: Site) -> None:
    engine = demo_site.engine()
    with engine.begin() as connection:
        task = add_task(connection, "PROGRESS", traceback=TRACEBACK, name="somebody_elses_task")
    page = await open_page(f"/ui/tasks/{task}")
    bar = page.get_by_role("progressbar")
    await expect(bar).to_have_attribute("value", "75.0")
    await page.get_by_text("Traceback of the last failed try").click()

    with engine.begin() as connection:
        change_task(connection, task, meta={**PROGRESS, "progress": 90, "current_step": "Writing down"})
    await expect(bar).to_have_attribute("value", "90.0")
    await expect(page.get_by_text("Writing down")).to_be_visible()
    await expect(page.get_by_text(TRACEBACK)).to_be_visible()

    with engine.begin() as connection:
        change_task(connection, task, state="SUCCESS", meta={"rows": 4711}, finished_at=now())
    await expect(page.get_by_text('"rows": 4711')).to_be_visible()
    await expect(bar).to_have_count(0)


async def test_all_that_failed_run_again_once_it_is_confirmed(open_page: OpenPage, demo_site: Site) -> None:
    engine = demo_site.engine()
    later = now() + timedelta(seconds=1)
    with engine.begin() as connection:
        # Of a name that no worker knows, so that they stay where they are put.
        tasks = [add_task(connection, "FAILURE", name="somebody_elses_task", created_at=later) for _ in range(2)]
    page = await open_page("/ui/tasks?name=somebody_elses_task&state=FAILURE")
    await page.get_by_role("button", name="Retry all 2 failed tasks").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Run all 2 failed tasks of the name somebody_elses_task again?")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(page.locator(f"#task-{tasks[0]}")).to_contain_text("failure")

    await page.get_by_role("button", name="Retry all 2 failed tasks").click()
    await dialog.get_by_role("button", name="Retry all 2 failed tasks").click()
    await expect(page.get_by_role("status").filter(has_text="2 tasks run again")).to_be_visible()


async def test_a_rate_limit_is_changed_for_a_while_and_put_back(open_page: OpenPage) -> None:
    page = await open_page("/ui/tasks")
    change = page.get_by_role("region", name="Change a rate limit for a while")
    await change.get_by_role("combobox", name="Task").select_option("timeliness_check_task")
    await change.get_by_role("textbox", name="Limit").fill("90/m")
    await change.get_by_role("button", name="Change").click()
    row = page.get_by_role("region", name="Rate limits").get_by_role("row").filter(has_text="timeliness_check_task")
    await expect(row).to_contain_text("90/m")
    await row.get_by_role("button", name="Back to 1/s").click()
    await expect(row).to_contain_text("as configured")


async def test_depth_over_time_is_a_chart_and_a_table(open_page: OpenPage) -> None:
    page = await open_page("/ui/tasks?hours=24")
    await expect(page.locator("#depth-chart canvas")).to_be_visible()
    await page.get_by_role("link", name="7 days").click()
    await expect(page).to_have_url(re.compile("hours=168"))
    await expect(page.locator("#depth-chart canvas")).to_be_visible()

    plain = await open_page("/ui/tasks?hours=24", javascript=False)
    await plain.get_by_text("The numbers", exact=True).click()
    await expect(plain.get_by_role("region", name="Pending tasks in numbers")).to_contain_text("celery, at most")
