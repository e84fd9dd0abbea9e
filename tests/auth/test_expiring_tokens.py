"""Tokens that end: when, with which warning, and how a new secret takes over."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.auth.test_access import bearer
from tests.conftest import MakeClient
from watcher_server.alerts.ending_tokens import warn_of_ending_tokens
from watcher_server.auth import service

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def _nothing_stays(engine: Engine) -> Iterator[None]:
    yield
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE login_session, person, api_token"))


def _make(engine: Engine, name: str = "etl", scope: str = "write", days: float | None = 365) -> str:
    lifetime = None if days is None else timedelta(days=days)
    with engine.begin() as connection:
        return service.create_token(connection, name, scope, lifetime=lifetime)


def _listed(engine: Engine, name: str = "etl") -> service.ListedToken:
    with engine.begin() as connection:
        return next(token for token in service.list_tokens(connection) if token.name == name)


def test_a_token_ends_after_a_year_unless_told_otherwise(engine: Engine) -> None:
    with engine.begin() as connection:
        service.create_token(connection, "etl", "write", purpose="the nightly load")
    token = _listed(engine)
    assert token.expires_at is not None
    assert abs(token.expires_at - datetime.now(UTC) - timedelta(days=365)) < timedelta(minutes=1)
    assert token.purpose == "the nightly load"
    _make(engine, "for ever", days=None)
    assert _listed(engine, "for ever").expires_at is None


async def test_an_expired_token_is_refused_with_its_date_and_closes_the_server_still(
    make_client: MakeClient, engine: Engine
) -> None:
    token = _make(engine, days=-1)
    async with make_client() as client:
        refused = await client.get("/pipeline", headers=bearer(token))
        assert refused.status_code == 401
        assert refused.json()["detail"].startswith("This token expired on 20")
        # It is the only one. An open server would let everybody on this machine in.
        assert (await client.get("/pipeline")).status_code == 401
        form = await client.post("/login", data={"token": token}, headers=BROWSER)
        assert form.status_code == 401
        assert "This token has expired" in form.text
    assert _listed(engine).last_used_at is None


async def test_after_a_rotation_both_secrets_work_until_the_overlap_is_over(
    make_client: MakeClient, engine: Engine
) -> None:
    old = _make(engine)
    with engine.begin() as connection:
        new = service.rotate_token(connection, "etl", overlap=timedelta(hours=24))
    assert new is not None
    async with make_client() as client:
        assert (await client.get("/pipeline", headers=bearer(old))).status_code == 200
        assert (await client.get("/pipeline", headers=bearer(new))).status_code == 200
        ends = datetime.fromisoformat((await client.get("/whoami", headers=bearer(old))).json()["expires_at"])
        assert abs(ends - datetime.now(UTC) - timedelta(hours=24)) < timedelta(minutes=1)
        with engine.begin() as connection:
            connection.execute(text("UPDATE api_token SET previous_until = now()"))
    async with make_client() as client:
        assert (await client.get("/pipeline", headers=bearer(old))).status_code == 401
        assert (await client.get("/pipeline", headers=bearer(new))).status_code == 200


async def test_a_rotation_without_overlap_ends_the_old_secret_and_its_logins(
    make_client: MakeClient, engine: Engine
) -> None:
    old = _make(engine)
    async with make_client() as client:
        await client.post("/login", data={"token": old})
        with engine.begin() as connection:
            new = service.rotate_token(connection, "etl", overlap=timedelta(0))
    async with make_client() as other:
        assert (await other.get("/pipeline", headers=bearer(old))).status_code == 401
        assert (await other.get("/pipeline", headers=bearer(new or ""))).status_code == 200
        assert (await other.get("/pipeline", cookies=dict(client.cookies))).status_code == 401


def test_a_rotation_never_makes_an_expired_secret_work_again(engine: Engine) -> None:
    old = _make(engine, days=-1)
    with engine.begin() as connection:
        service.rotate_token(connection, "etl", overlap=timedelta(hours=24))
        known = service.find_token(connection, old)
    assert known is not None
    assert known.expires_at is not None
    assert known.expires_at < datetime.now(UTC)


def test_a_token_that_ends_within_14_days_is_told_once(engine: Engine) -> None:
    _make(engine, "soon", days=13)
    _make(engine, "later", days=15)
    _make(engine, "over", days=-1)
    _make(engine, "never", days=None)
    for _ in range(2):
        with engine.begin() as connection:
            warn_of_ending_tokens(connection)
    with engine.connect() as connection:
        told = connection.execute(text("SELECT title, message, details::text FROM alert")).all()
    assert [(row.title, "'soon'" in row.message) for row in told] == [("Token Expires Soon", True)]
    assert "watcher token rotate 'soon'" in told[0].details


async def test_pages_warn_administrators_and_nobody_else(make_client: MakeClient, engine: Engine) -> None:
    reader, admin = _make(engine, "reader", "read"), _make(engine, "admin", "admin")
    _make(engine, "soon", days=13)
    async with make_client() as client:
        assert "will expire within 14 days" in (await client.get("/ui/tasks", headers=bearer(admin))).text
        assert "soon" not in (await client.get("/ui/tasks", headers=bearer(reader))).text


async def test_an_administrator_makes_rotates_and_revokes_tokens_on_a_page(
    make_client: MakeClient, engine: Engine
) -> None:
    admin = _make(engine, "admin", "admin")
    async with make_client() as client:
        client.headers.update(BROWSER | SAME_ORIGIN)
        await client.post("/login", data={"token": admin})
        form = {"name": "nightly", "scope": "read", "purpose": "the <b>load</b>", "days": "90"}
        made = _secret(await client.post("/ui/account/tokens", data=form))
        assert (await client.get("/whoami", headers=bearer(made))).json()["scope"] == "read"
        assert (await client.post("/ui/account/tokens", data=form)).status_code == 409
        assert made not in (await client.get("/ui/account")).text
        assert "the &lt;b&gt;load" in (await client.get("/ui/account")).text
        rotated = _secret(await client.post("/ui/account/tokens/rotate", data={"name": "nightly"}))
        assert rotated != made
        assert (await client.post("/ui/account/tokens/rotate", data={"name": "none"})).status_code == 404
        assert (await client.post("/ui/account/tokens", data=form | {"name": "a\x00"})).status_code == 422
        assert (await client.post("/ui/account/tokens", data=form | {"days": "-1"})).status_code == 422
        await client.post("/ui/account/tokens/revoke", data={"name": "nightly"})
        assert "nightly" not in (await client.get("/ui/account")).text


def _secret(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.text.partition('<code id="secret">')[2].partition("<")[0]


async def test_a_token_that_only_reports_reports_and_sees_nothing(make_client: MakeClient, engine: Engine) -> None:
    headers = bearer(_make(engine, scope="ingest"))
    async with make_client() as client:
        body = {"pipeline_id": 1, "start_date": "2026-11-30T00:00:00Z"}
        assert (await client.post("/start_pipeline_execution", json=body, headers=headers)).status_code == 404
        refused = await client.get("/pipeline", headers=headers)
        assert refused.status_code == 403
        assert refused.json()["detail"] == "This token may only report runs: use one with the scope read."
        assert (await client.post("/log_cleanup", json={"retention_days": 90}, headers=headers)).status_code == 403
        assert (await client.get("/ui", headers=headers | BROWSER)).status_code == 403
        form = await client.post("/login", data={"token": headers["Authorization"].split()[1]}, headers=BROWSER)
        assert form.status_code == 403
        assert "may only report runs" in form.text
