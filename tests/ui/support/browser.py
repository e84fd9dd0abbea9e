"""Debian's Chromium, and pages that remember what went wrong in them."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, async_playwright

# Only the sites of the tests can be found: what a page asks of another host fails, and is seen to be asked.
_ARGUMENTS = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
_TIMEOUT_MS = 10_000
_SCHEMES = ("http", "https", "ws", "wss")


def find_chromium() -> str | None:
    """The program, from wherever it is on the PATH."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@asynccontextmanager
async def start_browser(program: str) -> AsyncIterator[Browser]:
    """A headless Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield browser
        await browser.close()


async def new_context(
    browser: Browser,
    *,
    scheme: str = "light",
    width: int = 1280,
    height: int = 900,
    javascript: bool = True,
    timezone: str = "Asia/Tokyo",
) -> BrowserContext:
    """A visitor of their own: no cookies, this theme, this width, this zone."""
    context = await browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": height},
        java_script_enabled=javascript,
        timezone_id=timezone,
        locale="en-GB",
        reduced_motion="reduce",
    )
    context.set_default_timeout(_TIMEOUT_MS)
    return context


@dataclass
class Watch:
    """What went wrong in the pages of one context, but for what holds one of the ``expected`` texts."""

    host: str
    expected: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        """Note what this page does from now on."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))
        page.on("request", self._on_request)
        page.on("requestfailed", self._on_failure)
        page.on("dialog", self._on_dialog)

    def _note(self, problem: str) -> None:
        if not any(text in problem for text in self.expected):
            self.problems.append(problem)

    def _on_console(self, message: ConsoleMessage) -> None:
        # What the Content-Security-Policy refuses, and an answer of 400 or more, is an error of the console too.
        if message.type == "error":
            self._note(f"console: {message.text} ({message.location.get('url', '')})")

    def _on_request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in _SCHEMES and url.netloc != self.host:
            self._note(f"another host was asked: {request.url}")

    def _on_failure(self, request: Request) -> None:
        # Leaving a page ends what it was still loading.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"failed: {request.url} {request.failure}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self._note(f"a dialog opened: {dialog.message}")
        await dialog.dismiss()
