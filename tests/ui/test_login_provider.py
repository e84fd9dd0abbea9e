"""Logging in through a provider, in a browser that clicks through its pages."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest
from playwright.async_api import Page, expect

from tests.conftest import create_database
from tests.support.live import free_port
from tests.support.providers import NODE_SECRET, start_mock_provider, start_node_provider
from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site, start_provider_site

StartSite = Callable[..., AbstractContextManager[Site]]

# Their pages ask for style sheets and fonts from elsewhere.
_OF_PROVIDER = ("cdn.jsdelivr.net", "fonts.googleapis.com", "ERR_NAME_NOT_RESOLVED", "favicon.ico")


@pytest.fixture(scope="module")
def start_site(worker_id: str, _brokers: str, tmp_path_factory: pytest.TempPathFactory) -> StartSite:
    def start(
        name: str, number: int, provider: Callable[[str], AbstractContextManager[str]], **settings: str
    ) -> AbstractContextManager[Site]:
        url = create_database(f"watcher_ui_{name}_{worker_id}")
        logs = tmp_path_factory.mktemp(name)
        return start_provider_site(url, f"{_brokers}?virtual_host={number}", logs, provider, settings)

    return start


@pytest.fixture(scope="module")
def mock_site(start_site: StartSite) -> Iterator[Site]:
    """A Watcher whose people log in through the mock: vera views, edith edits, ada administers."""
    with start_site("mock_provider", 3, lambda _: start_mock_provider(), WATCHER_OIDC_CLIENT_SECRET="a") as site:
        yield site


@pytest.fixture(scope="module")
def node_site(start_site: StartSite) -> Iterator[Site]:
    """A Watcher whose people log in through npm's oidc-provider, by the name of their role."""
    secret = {"WATCHER_OIDC_CLIENT_SECRET": NODE_SECRET, "WATCHER_OIDC_SCOPES": "openid profile roles"}
    with start_site("node_provider", 4, start_node_provider, **secret) as site:
        yield site


async def _open(open_page: OpenPage, site: Site, path: str) -> Page:
    return await open_page(path, site=site, expects=(*_OF_PROVIDER, str(site.ids["provider"])))


async def _expect_role(page: Page, site: Site, name: str, role: str) -> None:
    await expect(page).to_have_url(re.compile(rf"^{re.escape(site.url)}/ui/pipelines\?state=ok$"))
    await expect(page.locator(".account")).to_contain_text(name)
    await expect(page.locator(".account .role")).to_have_text(role)
    await page.goto(site.address("/ui/tasks"))
    change = page.get_by_role("button", name="Change", exact=True)
    await (expect(change).to_be_enabled() if role == "admin" else expect(change).to_be_disabled())
    await page.get_by_role("link", name=name).click()
    await expect(page.get_by_role("heading", name="Your sessions")).to_be_visible()
    await expect(page.get_by_role("heading", name="People")).to_have_count(1 if role == "admin" else 0)


@pytest.mark.parametrize(("name", "role"), [("vera", "viewer"), ("edith", "editor"), ("ada", "admin")])
async def test_a_person_logs_in_through_the_mock_with_the_role_that_it_says(
    open_page: OpenPage, mock_site: Site, axe: Axe, name: str, role: str
) -> None:
    page = await _open(open_page, mock_site, "/ui/pipelines?state=ok")
    await axe(page)
    await page.get_by_role("link", name="Log in with").click()
    await page.get_by_role("button", name=name, exact=True).first.click()
    await _expect_role(page, mock_site, name.title(), role)
    await axe(page)
    await page.get_by_role("button", name="Log out").click()
    await expect(page.locator("h1")).to_have_text("Log in")


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
async def test_a_person_logs_in_through_a_certified_provider(open_page: OpenPage, node_site: Site, role: str) -> None:
    page = await _open(open_page, node_site, "/ui/pipelines?state=ok")
    await page.get_by_role("link", name="Log in with").click()
    await page.locator("input[name=login]").fill(role)
    await page.locator("input[name=password]").fill("anything")
    await page.locator("button[type=submit]").click()
    await page.get_by_role("button", name="Continue").click()
    await _expect_role(page, node_site, f"{role} of the node", role)


async def test_who_turns_back_at_the_provider_is_told_so(open_page: OpenPage, mock_site: Site) -> None:
    page = await open_page(
        "/ui", site=mock_site, expects=(*_OF_PROVIDER, str(mock_site.ids["provider"]), "status of 403")
    )
    await page.get_by_role("link", name="Log in with").click()
    await page.get_by_role("button", name="Deny").click()
    await expect(page.get_by_role("alert")).to_contain_text("you turned back")


async def test_without_the_provider_the_page_says_how_to_get_in(open_page: OpenPage, start_site: StartSite) -> None:
    with start_site("away_provider", 5, lambda _: nullcontext(f"http://127.0.0.1:{free_port()}")) as site:
        page = await open_page("/ui", site=site, expects=("status of 503",))
        await page.get_by_role("link", name="Log in with").click()
        await expect(page.get_by_role("alert")).to_contain_text("watcher token create NAME --scope admin --expires 1h")
        await expect(page.get_by_label("Token")).to_be_visible()
