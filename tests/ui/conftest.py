"""A browser, and Watchers for it to visit.

Tests of pages are async: Playwright's sync API leaves an event loop running, which breaks async tests in the same
process.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.async_api import Browser, Page

from tests.conftest import create_database
from tests.support.logins import begin_session
from tests.ui.support.accessibility import check_accessibility
from tests.ui.support.browser import Watch, find_chromium, new_context, start_browser
from tests.ui.support.site import Site, start_demo_site, start_empty_site, start_guarded_site
from watcher_server.auth.credentials import COOKIE
from watcher_server.embedded.services import EmbeddedServices

OpenPage = Callable[..., Awaitable[Page]]
Axe = Callable[[Page], Awaitable[None]]


@pytest.fixture(scope="session")
def _brokers() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="watcher-ui-") as home:
        Path(home).chmod(0o755)
        with EmbeddedServices(Path(home), postgres=False) as services:
            yield services.broker_url.partition("?")[0]


@pytest.fixture(scope="session")
def demo_site(worker_id: str, _brokers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Watcher with the demo's flights and the shop of ``support/scene.py``, which names the ids of the site."""
    logs = tmp_path_factory.mktemp("demo_site")
    with start_demo_site(create_database(f"watcher_ui_demo_{worker_id}"), f"{_brokers}?virtual_host=0", logs) as site:
        yield site


@pytest.fixture(scope="session")
def empty_site(worker_id: str, _brokers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Watcher without data."""
    logs = tmp_path_factory.mktemp("empty_site")
    with start_empty_site(create_database(f"watcher_ui_empty_{worker_id}"), f"{_brokers}?virtual_host=1", logs) as site:
        yield site


@pytest.fixture(scope="session")
def guarded_site(worker_id: str, _brokers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Watcher that asks for a token; ``site.tokens`` has one of each scope: read, write, admin."""
    logs = tmp_path_factory.mktemp("guarded_site")
    url = create_database(f"watcher_ui_guarded_{worker_id}")
    with start_guarded_site(url, f"{_brokers}?virtual_host=2", logs) as site:
        yield site


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium. Without it the tests of pages are skipped; in CI they fail."""
    program = find_chromium()
    if program is None:
        _give_up("There is no chromium: tests/debian-packages.sh installs it.")
    async with start_browser(program) as browser:
        yield browser


@pytest.fixture
async def open_page(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[OpenPage]:
    """Open a page of a site: ``page = await open_page("/ui/pipelines/{failed}", scheme="dark", width=360)``.

    ``site`` is the demo's by default. ``scope`` (read, write, admin) logs in to a site that asks for a token.
    ``expects`` are texts of problems that are allowed. With ``clock`` the test controls the time of the page
    (``page.clock``).
    Any other error in the console, failed request, or request to another host fails the test at its end.
    """
    watches: list[Watch] = []
    async with AsyncExitStack() as stack:

        async def open_page(
            path: str,
            *,
            site: Site | None = None,
            scheme: str = "light",
            width: int = 1280,
            height: int = 900,
            javascript: bool = True,
            timezone: str = "Asia/Tokyo",
            scope: str | None = None,
            status: int = 200,
            expects: tuple[str, ...] = (),
            clock: bool = False,
        ) -> Page:
            visited: Site = site or request.getfixturevalue("demo_site")
            context = await new_context(
                browser, scheme=scheme, width=width, height=height, javascript=javascript, timezone=timezone
            )
            stack.push_async_callback(context.close)
            # The browser logs an answer of 400 or more as an error.
            watches.append(Watch(visited.host, (*expects, f"status of {status} ")))
            context.on("page", watches[-1].follow)
            if scope is not None:
                session_id = begin_session(visited.engine(), visited.tokens[scope])
                await context.add_cookies([{"name": COOKIE, "value": session_id, "url": visited.url}])
            page = await context.new_page()
            if clock:
                await page.clock.install()
            answer = await page.goto(visited.address(path))
            assert answer is not None
            if answer.status != status:
                # The failure names the status; the console's errors would only repeat it.
                watches.pop()
                pytest.fail(f"{page.url} answered {answer.status}")
            return page

        yield open_page
    problems = [problem for watch in watches for problem in watch.problems]
    assert not problems, "\n".join(problems)


@pytest.fixture
def axe() -> Axe:
    """``await axe(page)`` fails with what axe-core finds that is serious or critical."""
    return check_accessibility
