"""The audit trail, as an administrator walks it."""

from playwright.async_api import expect

from tests.ui.conftest import OpenPage
from tests.ui.support.site import Site


async def test_a_change_is_found_from_what_was_changed(open_page: OpenPage, guarded_site: Site) -> None:
    page = await open_page("/login?next=/ui/routes/edit", site=guarded_site)
    await page.get_by_label("Token").fill(guarded_site.tokens["admin"])
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_label("Name").fill("nightly")
    await page.get_by_label("What it says, as in the file").fill("match: {owner: finance}\nto: default")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("link", name="nightly").click()
    await page.get_by_label("What it says, as in the file").fill("match: {owner: sales}\nto: default")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("link", name="nightly").click()
    await page.get_by_role("link", name="History").click()

    await expect(page.locator("h1")).to_have_text("Audit trail")
    rows = page.get_by_role("region", name="Changes").locator("tbody tr")
    await expect(rows).to_have_count(2)
    changed = rows.first
    await expect(changed).to_contain_text("change route")
    await expect(changed.locator("del")).to_contain_text("finance")
    await expect(changed.locator("ins")).to_contain_text("sales")
    await expect(changed).to_contain_text("session, 127.0.0.1")

    await page.get_by_label("Did").select_option("create")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(rows).to_have_count(1)
    await page.get_by_role("link", name="Show all").click()
    await expect(page).to_have_url(f"{guarded_site.url}/ui/audit")
