"""Watcher under a path of its host: what a page, a redirect or a document leads to begins with that path."""

import re
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from tests.auth.test_access import make_token
from tests.conftest import MakeClient
from watcher_server.app import require_own_path
from watcher_server.settings import SettingsError, load_settings
from watcher_server.web.pages import LINKING

URL = "https://example.com/watcher"
WEB = Path(__file__).parents[2] / "src" / "watcher_server" / "web"
BROWSER = {"Accept": "text/html"}
EITHER = pytest.mark.parametrize("sent", ["/watcher", ""], ids=["path left by the proxy", "path taken by the proxy"])


@EITHER
async def test_a_page_its_redirects_and_the_front_door_lead_to_nothing_outside(
    make_client: MakeClient, sent: str
) -> None:
    async with make_client(public_url=URL) as client:
        page = await client.get(f"{sent}/ui", headers=BROWSER)
        links = re.findall(r'(?:href|src|action|hx-get)="(/[^"]*)"', page.text)
        assert len(links) > 10
        assert [link for link in links if not link.startswith("/watcher/")] == []
        assert 'data-root="/watcher"' in page.text
        slash = await client.get(f"{sent}/ui/pipelines/", headers=BROWSER)
        assert slash.headers["location"] == "/watcher/ui/pipelines"
        door = (await client.get(f"{sent}/")).json()["links"]
        assert door["ui"] == "/watcher/ui"
        assert (await client.get(f"{sent}/openapi.json")).json()["servers"] == [{"url": "/watcher"}]
        assert (await client.post(f"{sent}/pipeline", json={"name": "a", "pipeline_type_name": "b"})).status_code == 201


async def test_the_path_alone_is_the_front_door_and_a_longer_name_is_not_the_path(make_client: MakeClient) -> None:
    async with make_client(public_url=URL) as client:
        assert (await client.get("/watcher")).json()["name"] == "Watcher"
        assert (await client.get("/watchers/ui", headers=BROWSER)).status_code == 404
        assert (await client.get("/watcher/watcher/ui", headers=BROWSER)).status_code == 404


async def test_a_login_stays_under_the_path_and_so_does_its_cookie(make_client: MakeClient, engine: Engine) -> None:
    token = make_token(engine)
    async with make_client(public_url=URL) as client:
        client.base_url = httpx.URL("https://example.com")
        client.headers.update({**BROWSER, "Sec-Fetch-Site": "same-origin"})
        refused = await client.get("/watcher/ui/tasks?page=2")
        assert refused.headers["location"] == "/watcher/login?next=/ui/tasks%3Fpage%3D2"
        shown = {"HX-Request": "true", "HX-Current-URL": "https://example.com/watcher/ui/tasks?page=2"}
        part = await client.get("/watcher/ui/tasks/parts/list", headers=shown)
        assert part.headers["hx-redirect"] == refused.headers["location"]

        entered = await client.post("/watcher/login", data={"token": token, "next": "/ui/tasks?page=2"})
        assert entered.headers["location"] == "/watcher/ui/tasks?page=2"
        assert re.match(r"__Secure-watcher_session=.*; Path=/watcher; .*Secure", entered.headers["set-cookie"])
        assert (await client.get("/watcher/ui/tasks")).status_code == 200
        left = await client.post("/watcher/logout")
        assert left.headers["location"] == "/watcher/login"
        assert "; Path=/watcher;" in left.headers["set-cookie"]


async def test_what_is_copied_from_a_page_into_a_program_has_the_path(make_client: MakeClient) -> None:
    async with make_client(public_url=f"{URL}/") as client:
        made = await client.post("/pipeline", json={"name": "a", "pipeline_type_name": "b"})
        address = (await client.post("/ping_url", json={"name": "a"})).json()["ping_url"]
        assert address.startswith(f"{URL}/ping/")
        assert (await client.get(httpx.URL(address).path)).status_code == 200
        assert URL in (await client.get("/ui/sources/connect", headers=BROWSER)).text
        assert f"{URL}/anomaly_detection_rule" in (await client.get("/ui/anomalies", headers=BROWSER)).text
        assert made.status_code == 201


def test_no_template_and_no_script_names_an_address_in_a_way_that_the_path_does_not_reach() -> None:
    for template in (WEB / "templates").rglob("*.html"):
        attributes = re.findall(r"""\s([a-z-]+)=["'](?:/\w|\{\{ (?:asset|url|path)\b)""", template.read_text())
        assert set(attributes) <= set(LINKING) | {"value"}, template
    for script in (WEB / "static").rglob("*.js"):
        if "vendor" not in script.parts:
            assert re.findall(r"""["'`]/[a-z][a-z_/-]+\b""", script.read_text()) == [], script
    for style in (WEB / "static").rglob("*.css"):
        if "vendor" not in style.parts:
            assert not re.search(r"url\(['\"]?/", style.read_text()), style


@pytest.mark.parametrize("path", ["/ui", "/pipeline/x", "/static", "/ping", "/login"])
def test_a_path_that_is_an_address_of_watcher_is_refused(path: str) -> None:
    with pytest.raises(SettingsError, match=f"WATCHER_PUBLIC_URL has the path {path}"):
        require_own_path(load_settings(public_url=f"https://example.com{path}"))


@pytest.mark.parametrize("path", ["/a%22b", "/a//b", '/a"b', "/é"])
def test_a_path_that_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(SettingsError, match="WATCHER_PUBLIC_URL has a path with other characters"):
        load_settings(public_url=f"https://example.com{path}")
