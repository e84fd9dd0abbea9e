"""What somebody does on the page of alerts."""

import re

from playwright.async_api import expect

from tests.ui.conftest import OpenPage
from tests.ui.support.site import Site


async def test_which_alert_did_not_arrive_and_sending_it_again(open_page: OpenPage, demo_site: Site) -> None:
    page = await open_page("/ui/alerts")
    await page.get_by_label("Delivered").select_option("failed")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page).to_have_url(re.compile("delivered=failed"))
    alert = page.locator(".alerts > li")
    await expect(alert).to_have_count(1)
    await expect(alert).to_contain_text("Tried 4 times: Slack answered 503")

    await alert.get_by_role("button", name="Send again").click()

    await expect(page).to_have_url(re.compile(r"alert=\d+"))
    await expect(page.locator(".alerts .status.delivered")).to_contain_text("to log", timeout=20_000)
    with demo_site.client() as client:
        assert client.get("/health/live").status_code == 200


async def test_from_an_alert_to_what_it_is_about(open_page: OpenPage) -> None:
    page = await open_page("/ui/alerts?q=freshness+check+failed")
    alert = page.locator(".alerts > li", has_text="overdue").first
    await alert.locator("summary").click()
    await alert.get_by_role("link", name="exchange rates").click()
    await expect(page).to_have_url(re.compile(r"/ui/pipelines/\d+"))


async def test_details_stay_open_when_the_page_is_fetched_anew(open_page: OpenPage) -> None:
    page = await open_page("/ui/alerts")
    details = page.locator(".alerts details").first
    await details.locator("summary").click()
    await expect(details).to_have_attribute("open", "")
    async with page.expect_response(lambda answer: "hx-request" in answer.request.headers):
        await page.evaluate("htmx.trigger('#alerts', 'live')")
    await expect(page.locator("#alerts")).not_to_have_class(re.compile("htmx-request"))
    await expect(page.locator(".alerts details").first).to_have_attribute("open", "")


async def test_the_filters_work_without_scripts(open_page: OpenPage) -> None:
    page = await open_page("/ui/alerts", javascript=False)
    await page.get_by_label("Text in title or message").fill("nothing says this")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.locator("main .empty")).to_contain_text("No alert fits")
    await page.get_by_role("link", name="Show all alerts").click()
    await expect(page.locator(".alerts > li").first).to_be_visible()
