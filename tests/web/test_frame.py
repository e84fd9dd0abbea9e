"""What all pages have in common: their headers, their files, their errors."""

import re

import httpx
import pytest

HTML = {"Accept": "text/html"}
PAGES = (
    "/ui",
    "/ui/pipelines",
    "/ui/anomalies",
    "/ui/alerts",
    "/ui/tasks",
    "/ui/settings",
    "/reporting",
    "/lineage-graph",
    "/ui/sources",
    "/ui/sources/connect",
    "/diagnostics",
    "/ui/documentation",
    "/login",
)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_loads_nothing_from_elsewhere_and_holds_no_script_or_style(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path, headers=HTML)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.findall(r'(?:src|href)="(?:https?:)?//', answer.text) == []
    assert not re.search(r"<style|\sstyle=|\son\w+=", answer.text)
    # Data for a chart is no script; every other one has an address.
    scripts = re.findall(r"<script[^>]*>", answer.text)
    assert all('src="/static/' in script or 'type="application/json"' in script for script in scripts)


@pytest.mark.parametrize("path", PAGES)
async def test_everything_a_page_names_is_there_and_kept_for_long(client: httpx.AsyncClient, path: str) -> None:
    page = (await client.get(path, headers=HTML)).text
    files = {name.partition("#")[0] for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page)}
    assert files
    for file in files:
        answer = await client.get(file)
        assert answer.status_code == 200, file
        assert "immutable" in answer.headers["cache-control"]


async def test_a_module_finds_its_siblings_in_the_same_version(client: httpx.AsyncClient) -> None:
    page = (await client.get("/ui", headers=HTML)).text
    script = re.search(r'src="(/static/v-[0-9a-f]+/)page.js"', page)
    assert script is not None
    assert (await client.get(f"{script[1]}time.js")).headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path", ["no.css", "../pages.py", "%2e%2e/pages.py", "..%2fpages.py", "v-1/../../pages.py", "%00", "vendor", ""]
)
async def test_only_static_files_are_served(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/static/{path}")).status_code == 404


async def test_an_error_is_a_page_for_people_and_json_for_programs(client: httpx.AsyncClient) -> None:
    for path in ("/ui/nothing", "/ui/pipelines/999999", "/ui/executions/999999"):
        page = await client.get(path, headers=HTML)
        assert page.status_code == 404
        assert "<h1>Not Found</h1>" in page.text
        assert "go to the overview" in page.text
        program = await client.get(path)
        assert program.status_code == 404
        assert program.headers["content-type"] == "application/json"


async def test_an_odd_parameter_is_named_in_words(client: httpx.AsyncClient) -> None:
    page = await client.get("/reporting?days=x", headers=HTML)
    assert page.status_code == 422
    assert "days:" in page.text
    assert "Open this page without its filters" in page.text


async def test_the_stylesheet_knows_the_dark(client: httpx.AsyncClient) -> None:
    answer = await client.get("/static/watcher.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in answer.text
