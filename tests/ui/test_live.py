"""Live parts: on time while somebody looks, seldom while nobody does."""

from playwright.async_api import Page, Request

from tests.ui.conftest import OpenPage

HIDE = "Object.defineProperty(document, 'hidden', { get: () => {hidden}, configurable: true })"
TELL = "document.dispatchEvent(new Event('visibilitychange'))"


async def _count_parts(page: Page) -> list[str]:
    """What htmx asks for from now on."""
    asked: list[str] = []

    def note(request: Request) -> None:
        if "hx-request" in request.headers:
            asked.append(request.url)

    page.on("request", note)
    return asked


async def _pass_time(page: Page, seconds: int) -> None:
    for _ in range(seconds):
        # Not all at once: what is asked for gets its answer meanwhile.
        await page.clock.run_for(1000)
    await page.wait_for_load_state("networkidle")


async def test_a_hidden_tab_asks_twelve_times_as_seldom_and_at_once_when_it_is_seen_again(open_page: OpenPage) -> None:
    page = await open_page("/ui", clock=True)
    asked = await _count_parts(page)
    await _pass_time(page, 35)
    assert len(asked) == 3

    await page.evaluate(HIDE.replace("{hidden}", "true"))
    await _pass_time(page, 100)
    assert len(asked) == 3
    await _pass_time(page, 30)
    assert len(asked) == 4

    await page.evaluate(HIDE.replace("{hidden}", "false"))
    async with page.expect_request(lambda request: "hx-request" in request.headers):
        await page.evaluate(TELL)
