"""The pages and their scripts under a path, as a browser gets them through nginx."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Request, expect

from tests.support.crawl import crawl
from tests.support.live import free_port, wait_until, watcher_process
from tests.support.proxies import start_proxy
from tests.ui.conftest import OpenPage
from tests.ui.support.site import Site


@pytest.fixture(scope="module")
def under_path(demo_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Another api on the demo's data, which nginx shows under a path."""
    folder = tmp_path_factory.mktemp("under_path")
    port, port_of_proxy = free_port(), free_port()
    environment = {
        "WATCHER_HOME": str(folder / "home"),
        "WATCHER_DATABASE_URL": demo_site.database_url,
        "WATCHER_BROKER_URL": "redis://127.0.0.1:1/0",
        "WATCHER_PORT": str(port),
        "WATCHER_PUBLIC_URL": f"http://127.0.0.1:{port_of_proxy}/watcher",
        "WATCHER_ALLOW_UNAUTHENTICATED": "true",
    }
    with watcher_process(["api"], environment, folder / "api.log"):
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}"), f"the api ({folder / 'api.log'})", seconds=120)
        with start_proxy("nginx", f"127.0.0.1:{port}", folder, port=port_of_proxy, under_path=True) as url:
            yield replace(demo_site, url=url)


def _answers(url: str) -> bool:
    try:
        # Not whether it is ready, for which it would need a broker: whether it has its database.
        return httpx.get(f"{url}/pipeline").status_code == 200
    except httpx.HTTPError:
        return False


async def test_the_scripts_of_the_pages_ask_for_nothing_outside_the_path(open_page: OpenPage, under_path: Site) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(urlsplit(request.url).path)

    page = await open_page("/ui", site=under_path)
    page.on("request", note)
    await page.get_by_role("link", name="Pipelines", exact=True).click()
    await expect(page).to_have_url(f"{under_path.url}/ui/pipelines")
    await page.goto(under_path.address("/ui/pipelines/{anomalous}?tab=charts"))
    async with page.expect_request("**/baseline?*"):
        pass
    await page.goto(under_path.address("/lineage-graph"))
    await page.get_by_role("combobox").fill("mart")
    await page.get_by_role("option").first.click()
    await expect(page.locator("#lineage-graph[data-ready]")).to_be_attached()
    await page.goto(under_path.address("/docs"))
    await expect(page.get_by_text("start_pipeline_execution").first).to_be_visible()
    await expect(page.locator(".servers select option")).to_have_text("/watcher")
    outside = {path for path in asked if not path.startswith("/watcher/") and path != "blob"}
    assert outside == set()
    assert any(path.endswith("/openapi.json") for path in asked)


def test_whatever_the_pages_of_a_full_watcher_lead_to_is_there_and_under_the_path(under_path: Site) -> None:
    with httpx.Client(base_url=under_path.url.removesuffix("/watcher"), timeout=30) as client:
        pages = ["/ui", "/ui/pipelines/{failed}", "/ui/executions/{tree_execution}", "/ui/incidents/{incident}"]
        kinds, wrong = crawl(client, "/watcher", [under_path.path(path) for path in pages])
    assert wrong == []
    assert len(kinds) > 150
