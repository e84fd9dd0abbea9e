"""What somebody sees on the page of settings."""

import re

from playwright.async_api import expect

from tests.ui.conftest import OpenPage
from tests.ui.support.site import Site


async def test_what_is_in_force(open_page: OpenPage) -> None:
    page = await open_page("/ui/settings")
    database = page.get_by_role("row", name=re.compile("^WATCHER_DATABASE_URL "))
    await expect(database).to_contain_text("postgresql://")
    await expect(page.get_by_role("region", name="Schedules")).to_contain_text("freshness")
    await expect(page.get_by_role("region", name="Rate limits")).to_contain_text("15/s")
    await expect(page.get_by_label("Versions")).to_contain_text("Valkey")


async def test_who_may_only_write_sees_no_tokens(open_page: OpenPage, guarded_site: Site) -> None:
    page = await open_page("/login?next=/ui/settings", site=guarded_site)
    await page.get_by_label("Token").fill(guarded_site.tokens["write"])
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("h1")).to_have_text("Settings")
    await expect(page.locator("main")).to_contain_text("Only a token with the scope admin")
    await expect(page.locator("main")).not_to_contain_text("a read token")
