"""Live parts: on time while somebody looks, seldom while nobody does."""

import asyncio

from playwright.async_api import Page, Request

from tests.ui.conftest import OpenPage

HIDE = "Object.defineProperty(document, 'hidden', { get: () => {hidden}, configurable: true })"
TELL = "document.dispatchEvent(new Event('visibilitychange'))"


class Parts:
    """What htmx asks for: how often, and whether everything has its answer."""

    def __init__(self, page: Page) -> None:
        self.asked = 0
        self.answered = asyncio.Event()
        self.answered.set()
        page.on("request", self._begin)
        page.on("requestfinished", self._end)

    def _begin(self, request: Request) -> None:
        if "hx-request" in request.headers:
            self.asked += 1
            self.answered.clear()

    def _end(self, request: Request) -> None:
        if "hx-request" in request.headers:
            self.answered.set()


async def _pass_time(page: Page, parts: Parts, seconds: int) -> None:
    """Let the page's clock run; it stands still while an answer is under way, for the server has no other clock."""
    for _ in range(seconds):
        await page.clock.run_for(1000)
        await parts.answered.wait()


async def test_a_hidden_tab_asks_twelve_times_as_seldom_and_at_once_when_it_is_seen_again(open_page: OpenPage) -> None:
    page = await open_page("/ui", clock=True)
    parts = Parts(page)
    await _pass_time(page, parts, 35)
    assert parts.asked == 3

    await page.evaluate(HIDE.replace("{hidden}", "true"))
    await _pass_time(page, parts, 100)
    assert parts.asked == 3
    await _pass_time(page, parts, 30)
    assert parts.asked == 4

    await page.evaluate(HIDE.replace("{hidden}", "false"))
    async with page.expect_request(lambda request: "hx-request" in request.headers):
        await page.evaluate(TELL)
