"""The reference of the API: two readings of one document, from our own files."""

import re

import httpx
import pytest

PAGES = ("/docs", "/scalar")


@pytest.mark.parametrize("path", PAGES)
async def test_the_reference_loads_only_our_own_files(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    loaded = re.findall(r'<(?:script|link rel="stylesheet")[^>]* (?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 3
    for address in loaded:
        assert address.startswith("/static/")
        assert (await client.get(address)).status_code == 200
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page.text)


@pytest.mark.parametrize("path", PAGES)
async def test_the_reference_is_of_this_api(client: httpx.AsyncClient, path: str) -> None:
    page = (await client.get(path)).text
    document = re.search(r'data-openapi="([^"]+)"', page)
    assert document is not None
    assert "/pipeline" in (await client.get(document[1])).json()["paths"]
    assert '<a href="/ui">Back to Watcher</a>' in page


async def test_only_scalar_may_bring_styles_of_its_own(client: httpx.AsyncClient) -> None:
    policies = {path: (await client.get(path)).headers["content-security-policy"] for path in PAGES}
    for policy in policies.values():
        assert "default-src 'none';" in policy
        assert "script-src 'self';" in policy
        assert "connect-src 'self';" in policy
        assert "unsafe-eval" not in policy
    assert "style-src 'self';" in policies["/docs"]
    assert "style-src 'self' 'unsafe-inline';" in policies["/scalar"]


async def test_the_pages_are_not_part_of_the_document(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert paths.keys().isdisjoint(PAGES)
