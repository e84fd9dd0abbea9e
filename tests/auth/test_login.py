"""Logging in with a browser."""

from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.auth.test_access import make_token
from tests.conftest import MakeClient

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
BROKEN = ("http://[", "//[", "[", "http://[::1")
PAGES = ("/ui", "/ui/pipelines", "/ui/tasks", "/reporting", "/lineage-graph", "/diagnostics", "/docs", "/scalar")


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
    assert "samesite=lax" in cookie
    assert "secure" not in cookie

    assert (await browser.get("/reporting")).status_code == 200


async def test_over_https_the_cookie_is_secure(browser: httpx.AsyncClient, token: str) -> None:
    answer = await browser.post("https://localhost/login", data={"token": token})
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_a_wrong_token_is_told_and_not_shown(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/login", data={"token": "<watcher_guess>"})
    assert answer.status_code == 401
    assert "This token is not valid" in answer.text
    assert "watcher_guess" not in answer.text
    assert "set-cookie" not in answer.headers


PIPELINE = {"name": "a", "pipeline_type_name": "b"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


async def _log_in(browser: httpx.AsyncClient, engine: Engine, scope: str) -> None:
    await browser.post("/login", data={"token": make_token(engine, scope, scope)})
    assert (await browser.get("/pipeline")).status_code == 200


@pytest.mark.parametrize("proof", [SAME_ORIGIN, {"Origin": "http://localhost"}])
async def test_our_own_pages_change_what_the_login_may(
    browser: httpx.AsyncClient, engine: Engine, proof: dict[str, str]
) -> None:
    await _log_in(browser, engine, "write")
    assert (await browser.post("/pipeline", json=PIPELINE, headers=proof)).status_code == 201
    assert (await browser.post("/log_cleanup", json={"retention_days": 90}, headers=proof)).status_code == 403


async def test_a_login_that_may_read_changes_nothing(browser: httpx.AsyncClient, token: str) -> None:
    await browser.post("/login", data={"token": token})
    answer = await browser.post("/pipeline", json=PIPELINE, headers=SAME_ORIGIN)
    assert answer.status_code == 403
    assert "scope write" in answer.text


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "http://evil.test"},
    {"Origin": "null"},
    {"Origin": "http://[broken"},
]


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_no_other_site_makes_a_browser_change_anything(
    browser: httpx.AsyncClient, engine: Engine, foreign: dict[str, str]
) -> None:
    await _log_in(browser, engine, "admin")
    assert (await browser.post("/pipeline", json=PIPELINE, headers=foreign)).status_code == 403
    assert (await browser.post("/logout", headers=foreign)).status_code == 403
    assert (await browser.get("/pipeline")).json() == []


@pytest.mark.parametrize(
    "authorization", ["Basic dXNlcjpwYXNzd29yZA==", "Negotiate YII=", "Digest a=b", "", "Bearers x"]
)
async def test_what_browsers_attach_by_themselves_does_not_let_another_site_in(
    browser: httpx.AsyncClient, engine: Engine, client: httpx.AsyncClient, authorization: str
) -> None:
    await _log_in(browser, engine, "admin")
    for foreign in FOREIGN:
        headers = {**foreign, "Authorization": authorization}
        assert (await browser.post("/pipeline", json=PIPELINE, headers=headers)).status_code == 403
        assert (await client.post("/pipeline", json=PIPELINE, headers=headers)).status_code == 403
    assert (await browser.get("/pipeline")).json() == []


async def test_a_login_works_behind_a_proxy_that_asks_for_a_password_too(
    browser: httpx.AsyncClient, token: str
) -> None:
    browser.headers["Authorization"] = "Basic dXNlcjpwYXNzd29yZA=="
    assert (await browser.get("/reporting")).status_code == 303
    await browser.post("/login", data={"token": token})
    assert (await browser.get("/reporting")).status_code == 200


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_nor_where_everything_is_open(client: httpx.AsyncClient, foreign: dict[str, str]) -> None:
    assert (await client.post("/pipeline", json=PIPELINE, headers=foreign)).status_code == 403
    assert (await client.post("/pipeline", json=PIPELINE)).status_code == 201


async def test_a_cookie_without_a_word_of_its_page_changes_nothing(browser: httpx.AsyncClient, engine: Engine) -> None:
    await _log_in(browser, engine, "admin")
    assert (await browser.post("/pipeline", json=PIPELINE)).status_code == 401


async def test_the_front_door_shows_a_stranger_the_login_and_nothing_else(
    browser: httpx.AsyncClient, token: str
) -> None:
    stranger = await browser.get("/")
    assert stranger.status_code == 200
    assert "<h1>Log in</h1>" in stranger.text
    assert (await browser.get("/", headers={"Accept": "*/*"})).json()["name"] == "Watcher"

    await browser.post("/login", data={"token": token})
    assert "Log in</h1>" not in (await browser.get("/")).text


async def test_a_part_of_a_page_sends_the_whole_page_to_the_login(browser: httpx.AsyncClient) -> None:
    asked = {"HX-Request": "true", "HX-Current-URL": "http://localhost/ui/pipelines?q=a"}
    answer = await browser.get("/ui/pipelines?q=a", headers=asked)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login?next=/ui/pipelines%3Fq%3Da"


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
    assert answer.headers["location"] == "/ui"


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
