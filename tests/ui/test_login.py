"""Logging in with a browser: to the page that was asked for, with what the token may do."""

import re

from playwright.async_api import expect
from sqlalchemy import text

from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site
from watcher_server.auth.service import create_token


async def test_a_stranger_logs_in_and_is_where_they_wanted_to_be(
    open_page: OpenPage, guarded_site: Site, axe: Axe
) -> None:
    page = await open_page("/ui/pipelines?state=ok", site=guarded_site)
    await expect(page.locator("h1")).to_have_text("Log in")
    await axe(page)
    await page.get_by_label("Token").fill(guarded_site.tokens["read"])
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(re.compile(r"/ui/pipelines\?state=ok$"))
    await expect(page.locator(".account")).to_contain_text("a read token")
    await expect(page.locator(".account")).to_contain_text("viewer")
    await page.get_by_role("button", name="Log out").click()
    await expect(page.locator("h1")).to_have_text("Log in")
    await expect(page.get_by_text("You are logged out.")).to_be_visible()
    await expect(page.get_by_text("You were logged out")).to_have_count(0)


async def test_who_logs_out_in_one_tab_is_told_so_in_the_other(open_page: OpenPage, guarded_site: Site) -> None:
    first = await open_page("/ui/pipelines", site=guarded_site, scope="read", expects=("status of 401",))
    second = await first.context.new_page()
    await second.goto(guarded_site.address("/ui/tasks"))
    await first.get_by_role("button", name="Log out").click()
    await expect(first.locator("h1")).to_have_text("Log in")
    # The page asks for what is new by itself, and so finds out.
    await expect(second.get_by_text("You were logged out in another window.")).to_be_visible(timeout=30_000)
    await second.get_by_label("Token").fill(guarded_site.tokens["read"])
    await second.get_by_role("button", name="Log in").click()
    await expect(second).to_have_url(re.compile("/ui/tasks$"))


async def test_an_administrator_makes_a_token_rotates_it_and_sees_it_expire(
    open_page: OpenPage, guarded_site: Site, axe: Axe
) -> None:
    with guarded_site.engine().begin() as connection:
        admin = create_token(connection, "an admin token", "admin")
    page = await open_page("/login?next=/ui/account", site=guarded_site, expects=("status of 401",))
    await page.get_by_label("Token").fill(admin)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_label("Name", exact=True).fill("nightly")
    await page.get_by_label("Scope").select_option("read")
    await page.get_by_role("button", name="Make it").click()
    first = await page.locator("#secret").inner_text()
    await axe(page)
    await page.get_by_role("button", name="Rotate nightly").click()
    await page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    await expect(page.locator("#secret")).not_to_have_text(first)
    await expect(page.get_by_text("the former secret until")).to_be_visible()

    # Both work, until the former one is over.
    reader = await open_page("/login?next=/ui/tasks", site=guarded_site, expects=("status of 401",))
    await reader.get_by_label("Token").fill(first)
    await reader.get_by_role("button", name="Log in").click()
    await expect(reader.locator(".account")).to_contain_text("nightly")
    with guarded_site.engine().begin() as connection:
        connection.execute(text("UPDATE api_token SET expires_at = now() WHERE name = 'nightly'"))
    await expect(reader.get_by_text("The token of this login has expired.")).to_be_visible(timeout=30_000)
    await reader.get_by_label("Token").fill(first)
    await reader.get_by_role("button", name="Log in").click()
    await expect(reader.get_by_role("alert")).to_be_visible()
    await page.goto(guarded_site.address("/ui/account"))
    await page.get_by_role("button", name="Revoke nightly").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(page.get_by_role("rowheader", name="nightly")).to_have_count(0)


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
