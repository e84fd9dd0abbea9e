"""An empty Watcher: the lines on its overview are run, and their run appears."""

import asyncio
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from playwright.async_api import expect

from tests.conftest import create_database
from tests.support.live import free_port, wait_until, watcher_process
from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site


@pytest.fixture
def fresh_site(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An api without data, and without a worker or a broker, which a run does not need."""
    folder, port = tmp_path_factory.mktemp("fresh"), free_port()
    database_url = create_database(f"watcher_ui_fresh_{worker_id}")
    environment = {
        "WATCHER_HOME": str(folder / "home"),
        "WATCHER_DATABASE_URL": database_url,
        "WATCHER_BROKER_URL": "redis://127.0.0.1:1/0",
        "WATCHER_PORT": str(port),
    }
    url = f"http://127.0.0.1:{port}"
    with watcher_process(["api"], environment, folder / "api.log"):
        wait_until(lambda: _answers(url), f"the api ({folder / 'api.log'})", seconds=120)
        yield Site(url, database_url)


def _answers(url: str) -> bool:
    try:
        # Not whether it is ready, for which it would need a broker: whether it has its database.
        return httpx.get(f"{url}/pipeline").status_code == 200
    except httpx.HTTPError:
        return False


async def test_the_lines_of_an_empty_overview_make_the_run_that_it_waits_for_and_a_search_finds_it(
    fresh_site: Site, open_page: OpenPage, axe: Axe
) -> None:
    page = await open_page("/ui", site=fresh_site)
    await expect(page.get_by_text("Waiting for the first run…")).to_be_visible()
    lines = await page.get_by_label("The first run, with curl", exact=True).inner_text()
    assert fresh_site.url in lines
    await axe(page)

    ran = await asyncio.to_thread(
        subprocess.run, ["bash", "-euc", lines], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr

    run = page.locator('#overview a[href="/ui/executions/1"]').first
    await expect(run).to_be_visible(timeout=30_000)
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox", name="Search everything")).to_be_focused()
    await page.keyboard.type("first my")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{fresh_site.url}/ui/pipelines/1")
    await expect(page.locator("h1")).to_contain_text("My first pipeline")
