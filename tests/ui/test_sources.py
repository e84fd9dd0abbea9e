"""Somebody connects a tool: a token, the lines, and the first event."""

from datetime import UTC, datetime

import pytest
from playwright.async_api import expect
from sqlalchemy import text

from tests.support.openlineage import apply_waiting, put, run_event
from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.looks import check_width
from tests.ui.support.site import Site


@pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without"])
async def test_a_tool_is_connected(open_page: OpenPage, axe: Axe, guarded_site: Site, javascript: bool) -> None:
    namespace = "prod" if javascript else "plain"
    page = await open_page("/ui/sources", site=guarded_site, scope="admin", javascript=javascript)
    await page.get_by_role("navigation", name="Sources").get_by_role("link", name="Connect").click()
    waiting = page.locator("#first")
    await expect(waiting).to_contain_text("Waiting for the first event")

    await page.get_by_label("Name").fill(f"{namespace} airflow")
    await page.get_by_role("button", name="Make a token").click()
    lines = page.get_by_label("Airflow: In their environment", exact=True)
    await expect(lines).to_contain_text(f"OPENLINEAGE_URL={guarded_site.url}\nOPENLINEAGE_API_KEY=watcher_")
    await expect(waiting).to_contain_text("Waiting for the first event")
    if javascript:
        await expect(page.get_by_role("button", name="Copy: Airflow: In their environment")).to_be_visible()
        await axe(page)
        for width in (360, 2560):
            await check_width(page, width)
    # A page that is loaded anew knows nothing of it.
    await page.evaluate("document.body.dataset.opened = 'once'")

    put(guarded_site.engine(), [run_event("COMPLETE", datetime.now(UTC), namespace=namespace)])
    if not javascript:
        await page.get_by_role("link", name="Look again").click()
    await expect(waiting).to_have_class("notice first ok")
    await expect(waiting).to_contain_text("The first event has come")
    await expect(waiting).to_contain_text(f"of the namespace {namespace}")
    if javascript:
        assert await page.evaluate("document.body.dataset.opened") == "once"
        # The token is still there to be copied.
        await expect(lines).to_contain_text("OPENLINEAGE_API_KEY=watcher_")
        await axe(page)

    apply_waiting(guarded_site.engine())
    await waiting.get_by_role("link", name="who sends").click()
    row = page.get_by_role("row").filter(has_text=namespace)
    await expect(row).to_contain_text("sends")
    await expect(row).to_contain_text("1.54.0")


@pytest.mark.parametrize("scope", ["read", "write"])
async def test_only_an_administrator_makes_a_token(open_page: OpenPage, guarded_site: Site, scope: str) -> None:
    page = await open_page("/ui/sources/connect", site=guarded_site, scope=scope)
    await expect(page.get_by_role("button", name="Make a token")).to_be_disabled()
    with guarded_site.engine().connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM api_token WHERE name = 'openlineage'")) == 0
