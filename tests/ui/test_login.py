"""Logging in with a browser: to the page that was asked for, with what the token may do."""

import re

from playwright.async_api import expect

from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site


async def test_a_stranger_logs_in_and_is_where_they_wanted_to_be(
    open_page: OpenPage, guarded_site: Site, axe: Axe
) -> None:
    page = await open_page("/ui/pipelines?state=ok", site=guarded_site)
    await expect(page.locator("h1")).to_have_text("Log in")
    await axe(page)
    await page.get_by_label("Token").fill(guarded_site.tokens["read"])
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(re.compile(r"/ui/pipelines\?state=ok$"))
    await page.get_by_role("button", name="Log out").click()
    await expect(page.locator("h1")).to_have_text("Log in")


async def test_a_wrong_token_is_told_to_whoever_typed_it(open_page: OpenPage, guarded_site: Site) -> None:
    page = await open_page("/", site=guarded_site, expects=("status of 401",))
    await page.get_by_label("Token").fill("watcher_guessed")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("not valid")


async def test_who_may_only_look_finds_the_controls_disabled_and_who_may_write_does_not(
    open_page: OpenPage, guarded_site: Site
) -> None:
    with guarded_site.client() as client:
        body = {"name": "guarded orders", "pipeline_type_name": "extraction"}
        pipeline = client.post("/pipeline", json=body).json()["id"]
    path = f"/ui/pipelines/{pipeline}/edit"
    reader = await open_page(path, site=guarded_site, scope="read")
    await expect(reader.get_by_role("button", name="Show what changes")).to_be_disabled()

    writer = await open_page(path, site=guarded_site, scope="write")
    await writer.get_by_label("Active", exact=False).first.uncheck()
    await writer.get_by_role("button", name="Show what changes").click()
    await writer.get_by_role("button", name="Confirm").click()
    await expect(writer).to_have_url(re.compile("/ui/pipelines"))
    with guarded_site.client() as client:
        assert client.get(f"/pipeline/{pipeline}").json()["active"] is False
