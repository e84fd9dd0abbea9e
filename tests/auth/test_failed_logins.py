"""Wrong tokens: logged, counted, slowed by address, and never in the way of a valid one."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.auth.test_access import bearer, make_token
from tests.conftest import MakeClient
from watcher_server.auth import failures
from watcher_server.auth.book import TokenBook
from watcher_server.auth.failures import FREE_TRIES, FailedLogins
from watcher_server.auth.service import count_failed_logins, record_failed_logins
from watcher_server.database.engine import create_query_engine
from watcher_server.settings import load_settings

BROWSER = {"Accept": "text/html"}
ADDRESSES = [
    ("192.0.2.7", "192.0.2.7"),
    ("::ffff:192.0.2.7", "192.0.2.7"),
    ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
    ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::/64"),
    ("evil\r\nERROR \x1b[31m", r"'evil\r\nERROR \x1b[31m'"),
]


@pytest.fixture
def token(engine: Engine) -> Iterator[str]:
    yield make_token(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM api_token"))


@pytest.fixture
async def guarded(make_client: MakeClient, token: str) -> AsyncIterator[httpx.AsyncClient]:
    assert token
    async with make_client() as client:
        yield client


async def _fail(client: httpx.AsyncClient, times: int, *, guess: str = "watcher_guess") -> list[int]:
    return [(await client.get("/pipeline", headers=bearer(guess))).status_code for _ in range(times)]


async def test_each_way_of_showing_a_wrong_token_is_logged_without_it(
    guarded: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await guarded.get("/pipeline", headers=bearer("watcher_secret"))
    await guarded.get("/reporting", headers={**BROWSER, "Cookie": "watcher_session=watcher_secret"})
    await guarded.post("/login", data={"token": "watcher_secret"})

    logged = [record.getMessage() for record in caplog.records if "login failed" in record.getMessage()]
    assert [line.rpartition("(")[2] for line in logged] == ["bearer).", "cookie).", "form)."]
    assert all("127.0.0.1 showed an unknown or revoked token" in line for line in logged)
    assert "watcher_secret" not in caplog.text


async def test_a_request_without_a_token_is_no_failed_login(
    guarded: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for headers in ({}, BROWSER, {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}, {"Authorization": "Bearer "}):
        await guarded.get("/pipeline", headers=headers)
    assert "login failed" not in caplog.text


async def test_too_many_wrong_tokens_are_answered_with_429_and_a_valid_one_at_once(
    guarded: httpx.AsyncClient, token: str
) -> None:
    assert await _fail(guarded, FREE_TRIES) == [401] * FREE_TRIES

    limited = await guarded.get("/pipeline", headers=bearer("watcher_guess"))
    assert limited.status_code == 429
    assert 0 < int(limited.headers["Retry-After"]) <= 60
    assert "A valid token works at once" in limited.json()["detail"]
    form = await guarded.post("/login", data={"token": "watcher_guess"})
    assert (form.status_code, "Retry-After" in form.headers) == (429, True)
    assert "Too many wrong tokens" in form.text

    assert (await guarded.get("/pipeline", headers=bearer(token))).status_code == 200
    assert (await guarded.post("/login", data={"token": token})).status_code == 303
    guarded.cookies.clear()
    # Neither is a person with an old cookie kept from the login.
    old = {**BROWSER, "Cookie": "watcher_session=watcher_old"}
    assert (await guarded.get("/reporting", headers=old)).status_code == 303
    assert (await guarded.get("/pipeline")).status_code == 401


async def test_failed_logins_are_counted_for_prometheus(guarded: httpx.AsyncClient, token: str) -> None:
    await _fail(guarded, 3)
    await guarded.post("/login", data={"token": "watcher_guess"})

    for _ in range(60):
        metrics = (await guarded.get("/metrics", headers=bearer(token))).text
        if 'watcher_failed_logins_total{kind="form"} 1.0' in metrics:
            break
        await asyncio.sleep(0.1)

    assert 'watcher_failed_logins_total{kind="form"} 1.0' in metrics
    assert 'watcher_failed_logins_total{kind="bearer"} 3.0' in metrics
    assert 'watcher_failed_logins_total{kind="cookie"} 0.0' in metrics


def test_counts_of_several_processes_add_up(engine: Engine) -> None:
    with engine.begin() as connection:
        record_failed_logins(connection, {"form": 2, "bearer": 1})
        record_failed_logins(connection, {"form": 3})
        assert count_failed_logins(connection) == {"bearer": 1, "cookie": 0, "form": 5, "provider": 0}


async def test_what_cannot_be_stored_is_counted_later() -> None:
    failed = FailedLogins()
    failed.note({"client": ("192.0.2.7", 1)}, "form")
    engine = create_query_engine(load_settings(database_url="postgresql://nobody@127.0.0.1:1/none"))
    assert await TokenBook(engine, failed).tokens() is None
    failed.note({"client": ("192.0.2.7", 1)}, "form")
    assert failed.take_counts() == {"form": 2}
    await engine.dispose()


@pytest.mark.parametrize(("address", "shown"), ADDRESSES)
def test_an_address_is_logged_as_its_block_and_without_control_characters(
    caplog: pytest.LogCaptureFixture, address: str, shown: str
) -> None:
    FailedLogins().note({"client": (address, 1)}, "form")
    assert caplog.messages == [f"A login failed: {shown} showed an unknown or revoked token (form)."]


def test_each_address_has_its_own_limit_and_a_block_of_ipv6_shares_one() -> None:
    failed = FailedLogins()
    waits = [failed.note({"client": (f"2001:db8::{number:x}", 1)}, "form") for number in range(FREE_TRIES + 1)]
    assert [wait is None for wait in waits] == [True] * FREE_TRIES + [False]
    assert failed.note({"client": ("2001:db8:0:1::1", 1)}, "form") is None
    assert failed.note({"client": None}, "form") is None


def test_the_log_cannot_be_filled(caplog: pytest.LogCaptureFixture) -> None:
    failed = FailedLogins()
    for _ in range(1000):
        failed.note({"client": ("192.0.2.7", 1)}, "form")
    assert len(caplog.messages) == FREE_TRIES + 1
    assert "too many wrong tokens" in caplog.messages[-1]
    assert failed.take_counts() == {"form": 1000}


def test_the_log_cannot_be_filled_from_many_addresses(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, seconds = FailedLogins(), 0.0
    monkeypatch.setattr(failures, "monotonic", lambda: seconds)
    for number in range(1000):
        failed.note({"client": (f"2001:db8:{number:x}::1", 1)}, "bearer")
    assert len(caplog.messages) == failures.MOST_LINES + 1
    assert "only counted" in caplog.messages[-1]
    assert failed.take_counts() == {"bearer": 1000}
    seconds = failures.WINDOW_SECONDS
    failed.note({"client": ("192.0.2.7", 1)}, "form")
    assert "192.0.2.7" in caplog.messages[-1]


def test_after_a_minute_an_address_may_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failed, seconds = FailedLogins(), 0.0
    monkeypatch.setattr(failures, "monotonic", lambda: seconds)
    waits = [failed.note({"client": ("192.0.2.7", 1)}, "form") for _ in range(FREE_TRIES + 1)]
    assert waits[-1] == failures.WINDOW_SECONDS
    seconds = failures.WINDOW_SECONDS
    assert failed.note({"client": ("192.0.2.7", 1)}, "form") is None


def test_the_oldest_addresses_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MOST_ADDRESSES", 5)
    failed = FailedLogins()
    for _ in range(FREE_TRIES):
        failed.note({"client": ("192.0.2.7", 1)}, "form")
    for number in range(4):
        failed.note({"client": (f"198.51.100.{number}", 1)}, "form")
    assert failed.note({"client": ("192.0.2.7", 1)}, "form") is not None
    failed.note({"client": ("198.51.100.4", 1)}, "form")
    assert failed.note({"client": ("192.0.2.7", 1)}, "form") is None
