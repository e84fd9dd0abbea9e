"""Writes the pictures that documents show into docs/images: ``python -m tests.ui.screenshots [page ...]``."""

import asyncio
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.async_api import Browser

from tests.ui.support.browser import find_chromium, new_context, start_browser
from tests.ui.support.site import Site, start_demo_site
from watcher_server.database.migrate import migrate
from watcher_server.embedded.services import EmbeddedServices

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "images"
WIDTH, HEIGHT, LONGEST = 1280, 800, 1100
PHONE_WIDTH, PHONE_HEIGHT = 390, 844
# Charts and graphs are drawn, and what comes after the page has come.
SETTLED_MS = 700

PAGES = {
    "overview": "/ui",
    "incidents": "/ui/incidents",
    "incident": "/ui/incidents/{incident}",
    "pipelines": "/ui/pipelines",
    "pipeline": "/ui/pipelines/{anomalous}",
    "execution": "/ui/executions/{tree_execution}",
    "lineage": "/lineage-graph?source_address_id={flights}",
    "anomalies": "/ui/anomalies",
    "alerts": "/ui/alerts",
    "reporting": "/reporting",
    "tasks": "/ui/tasks",
    "task": "/ui/tasks/{failed_task}",
    "diagnostics": "/diagnostics",
    "settings": "/ui/settings#group-3",
}


@contextmanager
def _demo() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="watcher-screenshots-") as name:
        home = Path(name)
        home.chmod(0o755)
        with EmbeddedServices(home) as services:
            migrate(services.database_url)
            with start_demo_site(services.database_url, services.broker_url, home, odd_names=False) as site:
                yield site


async def _shoot(browser: Browser, url: str, file: Path, *, scheme: str, width: int, height: int) -> None:
    context = await new_context(browser, scheme=scheme, width=width, height=height, timezone="America/New_York")
    page = await context.new_page()
    answer = await page.goto(url)
    if answer is None or not answer.ok:
        raise SystemExit(f"There is no picture of {url}: it answered {answer and answer.status}.")
    await page.wait_for_timeout(SETTLED_MS)
    length = await page.evaluate("document.documentElement.scrollHeight")
    await page.set_viewport_size({"width": width, "height": min(max(length, height), max(LONGEST, height))})
    await page.wait_for_timeout(SETTLED_MS)
    picture = await page.screenshot(path=file, animations="disabled")
    await context.close()
    sys.stdout.write(f"{file.name}: {len(picture) / 1000:,.0f} kB\n")


async def _shoot_all(site: Site, program: str, names: Sequence[str]) -> None:
    async with start_browser(program) as browser:
        for name in names:
            url = site.address(PAGES[name])
            for kind in kinds_shown(name):
                file = FOLDER / f"{name}-{kind}.png"
                scheme = "dark" if kind == "dark" else "light"
                width, height = (PHONE_WIDTH, PHONE_HEIGHT) if kind == "phone" else (WIDTH, HEIGHT)
                await _shoot(browser, url, file, scheme=scheme, width=width, height=height)


def kinds_shown(name: str) -> list[str]:
    """How documents show that page: ``light``, ``dark``, on a ``phone``, or not at all."""
    texts = [file.read_text() for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    return sorted(set(re.findall(rf"images/{name}-(light|dark|phone)\.png", "".join(texts))))


def main(names: Sequence[str]) -> None:
    """Write the pictures of these pages, or of all."""
    if unknown := set(names) - PAGES.keys():
        raise SystemExit(f"There is no page {', '.join(sorted(unknown))}: name some of {', '.join(PAGES)}.")
    program = find_chromium()
    if program is None:
        raise SystemExit("There is no chromium: tests/debian-packages.sh installs it.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _demo() as site:
        asyncio.run(_shoot_all(site, program, names or list(PAGES)))


if __name__ == "__main__":
    main(sys.argv[1:])
