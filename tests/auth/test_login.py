"""Logging in with a browser."""

from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.auth.test_access import make_token
from tests.conftest import MakeClient

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
BROKEN = ("http://[", "//[", "[", "http://[::1")
PAGES = ("/reporting", "/lineage-graph", "/diagnostics", "/docs", "/scalar")


@pytest.fixture
def token(engine: Engine) -> str:
    return make_token(engine, "read")


@pytest.fixture
async def browser(make_client: MakeClient, engine: Engine, token: str) -> AsyncIterator[httpx.AsyncClient]:
    assert token
    async with make_client() as client:
        client.headers.update(BROWSER)
        yield client
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM api_token"))


async def test_a_page_sends_a_stranger_to_the_login_and_back(browser: httpx.AsyncClient, token: str) -> None:
    sent = await browser.get("/reporting?days=7&pipeline_name=a%20b")
    assert sent.status_code == 303
    assert sent.headers["location"] == "/login?next=/reporting%3Fdays%3D7%26pipeline_name%3Da%2520b"

    form = await browser.get(sent.headers["location"])
    assert 'value="/reporting?days=7&amp;pipeline_name=a%20b"' in form.text

    logged_in = await browser.post("/login", data={"token": f" {token}\n", "next": "/reporting?days=7"})
    assert logged_in.status_code == 303
    assert logged_in.headers["location"] == "/reporting?days=7"
    cookie = logged_in.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie

    assert (await browser.get("/reporting")).status_code == 200


async def test_over_https_the_cookie_is_secure(browser: httpx.AsyncClient, token: str) -> None:
    answer = await browser.post("https://watcher.test/login", data={"token": token})
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_a_wrong_token_is_told_and_not_shown(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/login", data={"token": "<watcher_guess>"})
    assert answer.status_code == 401
    assert "This token is not valid" in answer.text
    assert "watcher_guess" not in answer.text
    assert "set-cookie" not in answer.headers


async def test_the_cookie_reads_but_never_writes(browser: httpx.AsyncClient, engine: Engine) -> None:
    admin = make_token(engine, "admin", "admin")
    await browser.post("/login", data={"token": admin})

    assert (await browser.get("/pipeline")).status_code == 200
    write = await browser.post("/pipeline", json={"name": "a", "pipeline_type_name": "b"})
    assert write.status_code == 401


async def test_logging_out_forgets_the_cookie(browser: httpx.AsyncClient, token: str) -> None:
    await browser.post("/login", data={"token": token})
    assert "Log out" in (await browser.get("/reporting")).text

    assert (await browser.post("/logout")).headers["location"] == "/login"
    assert (await browser.get("/reporting")).status_code == 303


@pytest.mark.parametrize(
    "target",
    ["//evil.test/", "https://evil.test/", "/\\evil.test", "evil", "", "javascript:alert(1)", "/\n/evil.test", *BROKEN],
)
async def test_the_login_never_leads_to_another_site(browser: httpx.AsyncClient, token: str, target: str) -> None:
    answer = await browser.post("/login", data={"token": token, "next": target})
    assert answer.headers["location"] == "/reporting"


@pytest.mark.parametrize("target", ["http://%5B", "//%5B", "/%5B", "%00", "%ff", "http://["])
async def test_the_form_survives_any_target(browser: httpx.AsyncClient, target: str) -> None:
    assert (await browser.get(f"/login?next={target}")).status_code == 200


@pytest.mark.parametrize("path", PAGES)
async def test_only_pages_lead_to_the_login(browser: httpx.AsyncClient, path: str) -> None:
    assert (await browser.get(path)).headers["location"] == f"/login?next={path}"
    # A program that shows a wrong token, or asks for no page, is told.
    assert (await browser.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401
    assert (await browser.get(path, headers={"Accept": "*/*"})).status_code == 401


@pytest.mark.parametrize("path", ["/pipeline", "/openapi.json", "/lineage-graph/", "/reporting/pipeline-names", "/no"])
async def test_everything_else_is_401_for_a_browser_too(browser: httpx.AsyncClient, path: str) -> None:
    assert (await browser.get(path)).status_code == 401


async def test_odd_forms_are_refused_not_failed(browser: httpx.AsyncClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"", b"token=%00%ff%fe", b"token=%ed%a0%80", b"&&&=", b"\xff\xfe"):
        assert (await browser.post("/login", content=body, headers=form)).status_code in {401, 422}
    assert (
        await browser.post("/login", content=b"{}", headers={"Content-Type": "multipart/form-data"})
    ).status_code < 500
