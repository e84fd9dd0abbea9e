"""Logging in through a provider, against one that is real but for its passwords."""

import base64
import hmac
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from tests.support.providers import pass_mock_provider, start_mock_provider
from watcher_server.auth.oidc import provider
from watcher_server.auth.oidc.claims import check_id_token, role_values

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
PIPELINE = {"name": "orders", "pipeline_type_name": "extraction"}
CLEANUP = {"retention_days": 90}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    roles = {"vera": "viewer", "edith": "editor", "ada": "admin", "nemo": "sailor"}
    with start_mock_provider(roles) as issuer:
        yield issuer


def _settings(issuer: str) -> dict[str, Any]:
    return {
        "oidc_issuer": issuer,
        "oidc_client_id": "watcher",
        "oidc_client_secret": "secret",
        "public_url": "http://localhost",
    }


@pytest.fixture
async def browser(make_client: MakeClient, engine: Engine, issuer: str) -> AsyncIterator[httpx.AsyncClient]:
    async with make_client(**_settings(issuer)) as client:
        client.headers.update(BROWSER)
        yield client
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE login_session, person, api_token"))


@pytest.mark.parametrize(
    ("name", "role", "statuses"),
    [("vera", "viewer", [403, 403]), ("edith", "editor", [201, 403]), ("ada", "admin", [201, 200])],
)
async def test_a_person_may_do_what_the_role_of_the_claim_allows(
    browser: httpx.AsyncClient, name: str, role: str, statuses: list[int]
) -> None:
    answer = await pass_mock_provider(browser, name, "/ui/tasks?state=x")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/tasks?state=x")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie

    who = (await browser.get("/whoami")).json()
    assert (who["name"], who["kind"], who["role"]) == (name.title(), "session", role)
    answers = (
        await browser.post("/pipeline", json=PIPELINE, headers=SAME_ORIGIN),
        await browser.post("/log_cleanup", json=CLEANUP, headers=SAME_ORIGIN),
    )
    assert [answer.status_code for answer in answers] == statuses
    if role == "viewer":
        assert answers[0].json()["detail"] == "This needs the role editor (the scope write): Vera has the role viewer."


async def test_a_server_with_a_provider_is_never_open(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/pipeline")).status_code == 401
    form = await browser.get("/login?next=/ui/tasks")
    assert 'href="/login/start?next=/ui/tasks"' in form.text


async def test_what_is_asked_of_the_provider(browser: httpx.AsyncClient, issuer: str) -> None:
    begun = await browser.get("/login/start?next=//evil.test/")
    place = urlsplit(begun.headers["location"])
    asked = {name: values[0] for name, values in parse_qs(place.query).items()}
    assert f"{place.scheme}://{place.netloc}" == issuer
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == "http://localhost/login/callback"
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    assert (await pass_mock_provider(browser, "vera", "//evil.test/")).headers["location"] == "/ui"


async def test_nobody_without_a_role_gets_in(browser: httpx.AsyncClient, engine: Engine) -> None:
    answer = await pass_mock_provider(browser, "nemo")
    assert answer.status_code == 403
    assert "Nemo has no role here" in answer.text
    assert (await browser.get("/ui")).status_code == 303
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM login_session")) == 0


async def test_an_answer_to_another_browsers_login_is_refused(
    browser: httpx.AsyncClient, make_client: MakeClient, issuer: str
) -> None:
    await browser.get("/login/start")
    async with make_client(**_settings(issuer)) as other:
        begun = await other.get("/login/start")
        async with httpx.AsyncClient() as outside:
            back = await outside.post(begun.headers["location"], data={"sub": "ada"})
        place = urlsplit(back.headers["location"])
        stolen = await browser.get(f"{place.path}?{place.query}")
        assert stolen.status_code == 403
        assert "not begun in this browser" in stolen.text
        elsewhere = await other.get(f"{place.path}?{place.query}&iss=https://evil.test")
        assert "does not come from" in elsewhere.text
    assert (await browser.get("/ui")).status_code == 303


@pytest.mark.parametrize("query", ["", "?code=x", "?code=x&state=", "?error=access_denied", "?state=%00&code=%ff"])
async def test_odd_ways_back_are_refused(browser: httpx.AsyncClient, query: str) -> None:
    answer = await browser.get(f"/login/callback{query}")
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_a_made_up_code_is_refused_and_too_many_are_429(browser: httpx.AsyncClient) -> None:
    begun = await browser.get("/login/start")
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    answer = await browser.get(f"/login/callback?state={state}&code=guessed")
    assert answer.status_code == 403
    assert "does not accept this login" in answer.text
    statuses = [(await browser.get("/login/callback?code=x")).status_code for _ in range(10)]
    assert statuses == [403] * 9 + [429]


async def test_without_the_provider_the_page_says_how_to_get_in(
    make_client: MakeClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "_SEEN_SECONDS", 0)
    running = start_mock_provider()
    issuer = running.__enter__()
    async with make_client(**_settings(issuer)) as client:
        await pass_mock_provider(client, "vera")
        running.__exit__(None, None, None)
        answer = await client.get("/login/start", headers=BROWSER)
        assert answer.status_code == 503
        assert "does not answer" in answer.text
        assert "watcher token create NAME --scope admin --expires 1h" in answer.text
        # Who is logged in stays so.
        assert (await client.get("/whoami")).json()["name"] == "Vera"
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE login_session, person"))


async def test_an_issuer_that_names_itself_otherwise_is_not_believed(make_client: MakeClient, issuer: str) -> None:
    async with make_client(**_settings(f"{issuer}/")) as client:
        answer = await client.get("/login/start", headers=BROWSER)
    assert "names another issuer" in answer.text


async def test_a_person_whose_access_is_revoked_is_out_at_once_and_stays_out(
    browser: httpx.AsyncClient, make_client: MakeClient, issuer: str
) -> None:
    await pass_mock_provider(browser, "vera")
    async with make_client(**_settings(issuer)) as client:
        client.headers.update(BROWSER)
        await pass_mock_provider(client, "ada")
        page = (await client.get("/ui/account")).text
        assert "Vera" in page
        assert issuer in page
        form = {"person_id": "1", "blocked": "true"}
        assert (await client.post("/ui/account/people/block", data=form, headers=SAME_ORIGIN)).status_code == 303
    for _ in range(60):
        if (answer := await browser.get("/ui/tasks")).status_code == 303:
            break
    shown = await browser.get(answer.headers["location"])
    assert "An administrator has revoked your access." in shown.text
    again = await pass_mock_provider(browser, "vera")
    assert again.status_code == 403
    assert "An administrator has revoked your access." in again.text


KEY = RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})
KEYS = KeySet([RSAKey.import_key(KEY.as_dict(private=False))])
GOOD = {"iss": "https://a", "sub": "1", "aud": "w", "nonce": "n", "exp": time.time() + 86_400, "iat": time.time()}


def _check(token: str) -> Any:
    return check_id_token(token, KEYS, issuer="https://a", client_id="w", nonce="n")


def test_an_id_token_that_is_right_is_believed() -> None:
    assert _check(jwt.encode({"alg": "RS256", "kid": "1"}, GOOD, KEY))["sub"] == "1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://a/"},
        {"aud": "other"},
        {"aud": ["w", "other"], "azp": "other"},
        {"nonce": "old"},
        {"nonce": None},
        {"exp": time.time() - 300},
        {"exp": None},
        {"sub": None},
        {"iat": None},
    ],
)
def test_an_id_token_for_somebody_else_is_refused(wrong: dict[str, Any]) -> None:
    claims = {name: value for name, value in (GOOD | wrong).items() if value is not None}
    with pytest.raises((JoseError, ValueError)):
        _check(jwt.encode({"alg": "RS256", "kid": "1"}, claims, KEY))


def test_an_id_token_that_somebody_else_signed_is_refused() -> None:
    stranger = RSAKey.generate_key(2048, {"kid": "1"})
    curve = ECKey.generate_key("P-256", {"kid": "1"})
    tokens = [
        jwt.encode({"alg": "RS256", "kid": "1"}, GOOD, stranger),
        _signed_with_the_public_key(),
        jwt.encode({"alg": "ES256", "kid": "1"}, GOOD, curve),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
        "",
        "a.b",
    ]
    for token in tokens:
        with pytest.raises((JoseError, ValueError)):
            _check(token)


def _signed_with_the_public_key() -> str:
    """As a library would take it that lets the token choose the algorithm."""
    _, claims, _ = jwt.encode({"alg": "RS256", "kid": "1"}, GOOD, KEY).split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"1"}').rstrip(b"=").decode()
    signature = hmac.digest(KEY.as_pem(private=False), f"{head}.{claims}".encode(), "sha256")
    return f"{head}.{claims}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_roles_are_found_inside_other_claims() -> None:
    claims = {"a.b": ["x"], "realm_access": {"roles": ["y", 3]}, "one": "z", "none": None}
    assert role_values(claims, "a.b") == ["x"]
    assert role_values(claims, "realm_access.roles") == ["y"]
    assert role_values(claims, "one") == ["z"]
    assert role_values(claims, "none") == role_values(claims, "one.two") == []
