"""Who may see and change what on the pages: every route, for every scope and every way to show a token."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from tests.support.hostile import Ids, add_hostile_scene
from tests.support.logins import session_cookie
from tests.support.page_routes import FRONT_DOOR, PageRoute, page_routes
from tests.support.rows import change_pipeline, rows
from watcher_server.addresses.models import Address
from watcher_server.anomalies.models import AnomalyDetectionRule, AnomalyEvent
from watcher_server.app import create_app
from watcher_server.auth.service import create_token
from watcher_server.incidents.models import Incident, IncidentEvent
from watcher_server.models import Base
from watcher_server.openlineage.models import OpenLineageFailedEvent
from watcher_server.pipelines.models import Pipeline
from watcher_server.settings import load_settings
from watcher_server.tasking.models import OutboxMessage

ROUTES = page_routes(create_app(load_settings(relay_enabled=False)))
READS = [route for route in ROUTES if route.method == "GET"]
CHANGES = [route for route in ROUTES if route.method == "POST" and route.path not in {"/login", "/logout"}]
FOR_ADMINISTRATORS = (
    "/ui/tasks/limits/set",
    "/ui/tasks/limits/reset",
    "/ui/channels/edit",
    "/ui/channels/remove",
    "/ui/channels/resend",
    "/ui/channels/test",
    "/ui/routes/calendar",
    "/ui/routes/calendar/remove",
    "/ui/routes/edit",
    "/ui/routes/remove",
    "/ui/sources/replay",
    "/ui/sources/token",
    "/ui/windows/edit",
    "/ui/windows/remove",
    "/ui/account/people/block",
    "/ui/account/people/sessions/end",
    "/ui/account/tokens",
    "/ui/account/tokens/revoke",
    "/ui/account/tokens/rotate",
)
# Everybody may end sessions of their own.
OWN = "/ui/account/sessions/end"
OPEN = ("/login", "/static/{path:path}")
OF_PROVIDER = ("/login/start", "/login/callback")
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
PART = {"HX-Request": "true"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}
SCOPES = ("read", "write", "admin")
SECRET = "the name of a pipeline"
# The cookie of a session by the token it was begun with.
_cookies: dict[str, dict[str, str]] = {}
CHANGEABLE: tuple[type[Base], ...] = (
    Pipeline,
    AnomalyDetectionRule,
    AnomalyEvent,
    OutboxMessage,
    Incident,
    IncidentEvent,
    OpenLineageFailedEvent,
    Address,
)
FORMS = {
    "/ui/incidents/bulk": {"choice": "acknowledge", "selected": "1.1"},
    "/ui/incidents/{incident_id}/change": {"choice": "acknowledge", "version": "1"},
    "/ui/incidents/{incident_id}/comment": {"text": "I look at it"},
    "/ui/pipelines/bulk": {"action": "pause", "selected": "1"},
    "/ui/pipelines/{pipeline_id}/edit": {"original": "{}"},
    "/ui/pipelines/{pipeline_id}/accept": {"execution_id": "12", "metric": "total_rows"},
    "/ui/pipelines/{pipeline_id}/unflag": {"execution_id": "12", "metric": "total_rows"},
    "/ui/pipelines/{pipeline_id}/rules": {"metric_field": "inserts"},
    "/ui/addresses/{address_id}/join": {"into": "2"},
    "/ui/tasks/limits/set": {"task": "detect_anomalies_task", "limit": "5/s"},
    "/ui/tasks/limits/reset": {"task": "detect_anomalies_task"},
    OWN: {"session_id": "4711"},
}


@pytest.fixture
def tokens(engine: Engine) -> Iterator[dict[str, str]]:
    with engine.begin() as connection:
        made = {scope: create_token(connection, f"token of {scope}", scope) for scope in SCOPES}
    _cookies.update({token: session_cookie(engine, token) for token in made.values()})
    yield made
    _cookies.clear()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM api_token"))


@pytest.fixture
def ids(engine: Engine) -> Ids:
    with engine.begin() as connection:
        found = add_hostile_scene(connection)
        change_pipeline(connection, found["pipeline_id"], name=SECRET)
    return found


@pytest.fixture
async def guarded(make_client: MakeClient, tokens: dict[str, str], ids: Ids) -> AsyncIterator[httpx.AsyncClient]:
    assert tokens
    assert ids
    async with make_client() as client:
        yield client


@asynccontextmanager
async def _unchanged(engine: Engine) -> AsyncIterator[None]:
    before = _stored(engine)
    yield
    assert _stored(engine) == before


def _stored(engine: Engine) -> list[list[dict[str, Any]]]:
    with engine.begin() as connection:
        return [rows(connection, model) for model in CHANGEABLE]


def _cookie(token: str) -> dict[str, str]:
    return {**BROWSER, **_cookies[token]}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _post(client: httpx.AsyncClient, route: PageRoute, ids: Ids, headers: dict[str, str]) -> int:
    answer = await client.post(route.at(**ids), data=FORMS.get(route.path, {}), headers=headers)
    return answer.status_code


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("route", READS, ids=str)
async def test_a_stranger_sees_nothing_but_the_login(
    guarded: httpx.AsyncClient, ids: Ids, route: PageRoute, method: str
) -> None:
    forged = {"Cookie": "watcher_session=watcher_forged"}
    for headers in ({}, BROWSER, BROWSER | PART, BROWSER | SAME_ORIGIN, BROWSER | forged, {"X-HTTP-Method": "GET"}):
        answer = await guarded.request(method, route.at(**ids), headers=headers)
        assert SECRET not in answer.text
        if route.path in OPEN:
            assert answer.status_code == 200
        elif route.path == FRONT_DOOR:
            assert answer.status_code == 200
            assert method == "HEAD" or ("Log in</h1>" in answer.text) is ("Accept" in headers)
        elif answer.status_code == 303:
            assert answer.headers["location"].startswith("/login?next=")
        else:
            assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/ui/nothing", "/ui/pipelines/9999", "/ui/static/../tasks", "/ui/", "//ui", "/UI"])
async def test_a_stranger_is_not_told_what_there_is_not(guarded: httpx.AsyncClient, path: str) -> None:
    for headers in (BROWSER, {}, BROWSER | PART):
        answer = await guarded.get(f"http://localhost{path}", headers=headers)
        assert answer.status_code in {303, 401}
        assert answer.headers.get("location", "/login").startswith("/login")
        assert "<nav" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_a_stranger_changes_nothing(guarded: httpx.AsyncClient, ids: Ids, engine: Engine, method: str) -> None:
    async with _unchanged(engine):
        for route in (*READS, *CHANGES):
            if route.path in {*OPEN, *OF_PROVIDER, FRONT_DOOR}:
                continue
            for headers in (BROWSER, BROWSER | SAME_ORIGIN, BROWSER | PART):
                answer = await guarded.request(method, route.at(**ids), data=FORMS.get(route.path, {}), headers=headers)
                assert answer.status_code == 401, route
            answer = await guarded.request(method, route.at(**ids), headers=BROWSER | CROSS_SITE)
            assert answer.status_code == 403, route


async def test_a_login_that_may_read_changes_nothing(
    guarded: httpx.AsyncClient, tokens: dict[str, str], ids: Ids, engine: Engine
) -> None:
    cookie = _cookie(tokens["read"])
    async with _unchanged(engine):
        for route in CHANGES:
            may_do_this = route.path == OWN
            assert await _post(guarded, route, ids, cookie | SAME_ORIGIN) == (303 if may_do_this else 403), route
            assert await _post(guarded, route, ids, cookie) == 401, route
            assert await _post(guarded, route, ids, cookie | CROSS_SITE) == 403, route
            assert await _post(guarded, route, ids, _bearer(tokens["read"])) == (303 if may_do_this else 403), route


@pytest.mark.parametrize("scope", ["write", "admin"])
async def test_no_other_page_changes_anything_with_a_login(
    guarded: httpx.AsyncClient, tokens: dict[str, str], ids: Ids, engine: Engine, scope: str
) -> None:
    cookie = _cookie(tokens[scope])
    async with _unchanged(engine):
        for route in CHANGES:
            assert await _post(guarded, route, ids, cookie) == 401, route
            for foreign in (CROSS_SITE, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.test"}):
                assert await _post(guarded, route, ids, cookie | foreign) == 403, route
                assert await _post(guarded, route, ids, cookie | foreign | PART) == 403, route


@pytest.mark.parametrize("scope", ["write", "admin"])
async def test_each_may_change_what_the_scope_is_for(
    guarded: httpx.AsyncClient, tokens: dict[str, str], ids: Ids, scope: str
) -> None:
    ways = (_cookie(tokens[scope]) | SAME_ORIGIN, _bearer(tokens[scope]), _bearer(tokens[scope]) | CROSS_SITE)
    for route in CHANGES:
        for headers in ways:
            is_refused = await _post(guarded, route, ids, headers) in {401, 403}
            assert is_refused is (scope == "write" and route.path in FOR_ADMINISTRATORS), route


@pytest.mark.parametrize("scope", SCOPES)
async def test_every_scope_sees_every_page(
    guarded: httpx.AsyncClient, tokens: dict[str, str], ids: Ids, scope: str
) -> None:
    for route in READS:
        for headers in (_cookie(tokens[scope]), _cookie(tokens[scope]) | PART, _bearer(tokens[scope])):
            looked_from = "?source_address_id=1" if "source_address_id" in route.query else ""
            answer = await guarded.get(route.at(**ids) + looked_from, headers=headers)
            if route.path == "/ui/audit" and scope != "admin":
                assert answer.status_code == 403
                assert "scope admin" in answer.text
                continue
            # The address of a change, opened, leads back to where that can be asked for.
            assert answer.status_code in {200, 303}, route
            other = "token of read" if scope == "admin" else "token of admin"
            lists_tokens = route.path in {"/ui/settings", "/ui/account"}
            assert (other in answer.text) is (lists_tokens and scope == "admin"), route


@pytest.mark.parametrize("tab", ["", "?tab=rules", "?tab=rules&edit=1", "?anomaly=1"])
@pytest.mark.parametrize("scope", ["read", "write"])
async def test_who_may_not_change_something_finds_its_button_disabled(
    guarded: httpx.AsyncClient, tokens: dict[str, str], ids: Ids, scope: str, tab: str
) -> None:
    found = 0
    for route in READS:
        page = (await guarded.get(route.at(**ids) + tab, headers=_cookie(tokens[scope]))).text
        for action, button in _buttons(page):
            is_allowed = action == OWN or (scope == "write" and action not in FOR_ADMINISTRATORS)
            assert ("disabled" in button) is not is_allowed, (route, action, button)
            found += 1
    assert found > 5


def _buttons(page: str) -> Iterator[tuple[str, str]]:
    """The buttons of the forms that change something, with where they send them."""
    for form in re.findall(r'<form [^>]*method="post".*?</form>', page, re.DOTALL):
        action = re.search(r'action="([^"]*)"', form)
        if action is not None and action[1] not in {"/login", "/logout"}:
            yield from (
                (action[1], button) for button in re.findall(r"<button[^>]*>", form) if 'formmethod="get"' not in button
            )


@pytest.mark.parametrize("host", ["[", "a b@evil.test/x", "x" * 5000, ""])
async def test_no_host_breaks_a_page(guarded: httpx.AsyncClient, tokens: dict[str, str], ids: Ids, host: str) -> None:
    for route in READS:
        answer = await guarded.get(route.at(**ids), headers=_cookie(tokens["read"]) | {"Host": host})
        assert answer.status_code < 500, route
