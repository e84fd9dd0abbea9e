"""Debian's Chromium, and a record of what goes wrong in its pages."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, async_playwright

# Only the sites of the tests resolve: a request to another host fails, and the watch below notes it.
_ARGUMENTS = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
_TIMEOUT_MS = 10_000
_SCHEMES = ("http", "https", "ws", "wss")


def find_chromium() -> str | None:
    """The path of the program, or None when it is not on the PATH."""
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
    """A new visitor without cookies, with this theme, window and time zone."""
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
    """The problems in the pages of one context, without those that contain an ``expected`` text."""

    host: str
    expected: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        """Note the problems of this page from now on."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))
        page.on("request", self._on_request)
        page.on("requestfailed", self._on_failure)
        page.on("dialog", self._on_dialog)

    def _note(self, problem: str) -> None:
        if not any(text in problem for text in self.expected):
            self.problems.append(problem)

    def _on_console(self, message: ConsoleMessage) -> None:
        # The browser logs violations of the Content-Security-Policy and answers of 400 or more as errors, too.
        if message.type == "error":
            self._note(f"console: {message.text} ({message.location.get('url', '')})")

    def _on_request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in _SCHEMES and url.netloc != self.host:
            self._note(f"another host was asked: {request.url}")

    def _on_failure(self, request: Request) -> None:
        # Leaving a page aborts the requests that it was still making.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"failed: {request.url} {request.failure}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self._note(f"a dialog opened: {dialog.message}")
        await dialog.dismiss()
