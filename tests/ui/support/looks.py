"""Checks that every page passes, measured in the page itself."""

from typing import Any

from playwright.async_api import Page

# The elements that are wider than the document, for the message.
_SIDEWAYS = """() => {
    const {scrollWidth, clientWidth} = document.documentElement;
    if (scrollWidth <= clientWidth) return null;
    const wide = [...document.body.querySelectorAll("*")]
        .filter(element => !element.parentElement.closest(".scroll, .skip"))
        .filter(element => element.getBoundingClientRect().right > clientWidth + 1)
        .map(element => `${element.tagName.toLowerCase()}.${element.getAttribute("class") ?? ""}`);
    return `${scrollWidth} px in ${clientWidth}: ${wide.slice(-5).join(", ")}`;
}"""

_FOCUS = """() => {
    const element = document.activeElement;
    if (!element || element === document.body) return null;
    const seen = [element, element.closest("label")].filter(Boolean).map(getComputedStyle).some(
        ({outlineStyle, outlineWidth, boxShadow}) =>
            (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none");
    return {seen, html: element.outerHTML.slice(0, 200)};
}"""

# A time is right when its hours and minutes are those of Tokyo; a relative one ("2 minutes ago") has none.
_TIMES = """() => [...document.querySelectorAll("main time[datetime]")].map(element => {
    const parts = {hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "Asia/Tokyo"};
    const there = new Intl.DateTimeFormat("en-GB", parts).format(new Date(element.dateTime));
    const shown = element.textContent.match(/\\b\\d{1,2}:\\d{2}/)?.[0].padStart(5, "0");
    return {shown: shown ?? null, there, title: element.title};
})"""


async def check_width(page: Page, width: int) -> None:
    """Fail when the document scrolls sideways at this width."""
    await page.set_viewport_size({"width": width, "height": 900})
    # Charts and graphs resize a moment later.
    await page.wait_for_timeout(50)
    found = await page.evaluate(_SIDEWAYS)
    assert found is None, f"{page.url} scrolls sideways: {found}"


async def check_focus(page: Page, stops: int = 10) -> None:
    """Press Tab up to ``stops`` times; fail when it focuses nothing, or an element without a visible focus."""
    reached = 0
    for _ in range(stops):
        await page.keyboard.press("Tab")
        focus: dict[str, Any] | None = await page.evaluate(_FOCUS)
        if focus is None:
            break
        assert focus["seen"], f"no visible focus in {page.url}: {focus['html']}"
        reached += 1
    assert reached, f"Tab reaches nothing in {page.url}"


async def count_local_times(page: Page) -> int:
    """The number of times shown in the page. Fails when one is not in Tokyo's zone or has no UTC in its title."""
    times = await page.evaluate(_TIMES)
    for time in times:
        assert "UTC" in time["title"], f"a time without UTC in its title in {page.url}: {time}"
        assert time["shown"] in {None, time["there"]}, f"a time that is not the viewer's in {page.url}: {time}"
    return len(times)
