"""People whom a proxy names, and nobody else who sends the same header."""

from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.types import Scope

from tests.conftest import MakeClient
from watcher_server.auth.trusted_header import named_by_proxy, peer_of
from watcher_server.settings import SettingsError, load_settings

SETTINGS: dict[str, Any] = {
    "trusted_proxies": "127.0.0.1, 10.1.0.0/16",
    "trusted_user_header": "X-Forwarded-User",
    "trusted_role_header": "X-Forwarded-Groups",
    "roles": {"data-team": "editor", "root": "admin", "*": "viewer"},
}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
PIPELINE = {"name": "orders", "pipeline_type_name": "extraction"}


@pytest.mark.parametrize(
    ("groups", "role"),
    [(None, "viewer"), ("others", "viewer"), ("data-team", "editor"), ("x, root ,data-team", "admin")],
)
async def test_a_trusted_proxy_names_a_person_and_their_groups(
    make_client: MakeClient, engine: Engine, groups: str | None, role: str
) -> None:
    headers = {"X-Forwarded-User": "ada@example.org"} | ({"X-Forwarded-Groups": groups} if groups else {})
    async with make_client(**SETTINGS) as client:
        who = (await client.get("/whoami", headers=headers)).json()
        assert (who["name"], who["kind"], who["role"]) == ("ada@example.org", "header", role)
        changed = await client.post("/pipeline", json=PIPELINE, headers=headers | SAME_ORIGIN)
        assert changed.status_code == (403 if role == "viewer" else 201)
        # A browser attaches to every request what the proxy asks it for: without a word of our page nothing changes.
        assert (await client.post("/pipeline", json=PIPELINE, headers=headers)).status_code == 401
        cross = headers | {"Sec-Fetch-Site": "cross-site"}
        assert (await client.post("/pipeline", json=PIPELINE, headers=cross)).status_code == 403
        page = (await client.get("/ui/account", headers=headers | {"Accept": "text/html"})).text
        assert "ada@example.org" in page
        assert "Log out" not in page


async def test_without_the_header_the_server_is_closed(make_client: MakeClient, engine: Engine) -> None:
    async with make_client(**SETTINGS) as client:
        assert (await client.get("/pipeline")).status_code == 401
        assert (await client.get("/pipeline", headers={"X-Forwarded-User": ""})).status_code == 401


async def test_who_has_no_role_is_told_so(make_client: MakeClient, engine: Engine) -> None:
    async with make_client(**{**SETTINGS, "roles": {"root": "admin"}}) as client:
        answer = await client.get("/pipeline", headers={"X-Forwarded-User": "ada", "X-Forwarded-Groups": "others"})
    assert answer.status_code == 403
    assert "ada has no role here" in answer.json()["detail"]


@pytest.mark.parametrize(
    "peer", ["192.0.2.1", "10.2.0.1", "::1", "::ffff:192.0.2.1", "", None, "127.0.0.1.evil.test", "evil"]
)
def test_from_anywhere_else_the_header_says_nothing(peer: str | None) -> None:
    scope: Scope = {"headers": [(b"x-forwarded-user", b"ada")], "client": ("127.0.0.1", 1), "watcher_peer": peer}
    assert named_by_proxy(scope, load_settings(**SETTINGS)) is None


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3"])
def test_the_other_end_of_the_connection_counts_and_not_what_it_says_of_itself(peer: str) -> None:
    names = [(b"x-forwarded-user", "Zoë".encode())]
    scope: Scope = {"headers": names, "client": ("192.0.2.1", 1), "watcher_peer": peer}
    assert named_by_proxy(scope, load_settings(**SETTINGS)) == "Zoë"


def test_another_server_that_may_have_rewritten_the_address_is_not_believed() -> None:
    forwarded: Scope = {"headers": [(b"x-forwarded-for", b"127.0.0.1")], "client": ("127.0.0.1", 1)}
    assert peer_of(forwarded) is None
    assert peer_of({"headers": [], "client": ("127.0.0.1", 1)}) == "127.0.0.1"
    assert peer_of({"headers": [], "client": None}) is None


def test_a_header_that_comes_twice_names_nobody() -> None:
    names = [(b"x-forwarded-user", b"ada"), (b"x-forwarded-user", b"eve")]
    settings = load_settings(**SETTINGS)
    assert named_by_proxy({"headers": names, "watcher_peer": "127.0.0.1"}, settings) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"trusted_user_header": "X-User"}, "WATCHER_TRUSTED_PROXIES"),
        ({"trusted_proxies": "the proxy"}, "WATCHER_TRUSTED_PROXIES must be addresses"),
        ({"oidc_issuer": "https://login.example"}, "WATCHER_OIDC_CLIENT_ID and WATCHER_PUBLIC_URL"),
        ({"oidc_issuer": "http://login.example"}, "must begin with https://"),
        ({"roles": {"x": "king"}}, "WATCHER_ROLES"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(**given)
