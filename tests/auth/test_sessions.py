"""Sessions: begun by a login, ended in many ways, and told why."""

import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.auth.test_access import bearer, make_token
from tests.conftest import MakeClient
from tests.support.logins import begin_session
from watcher_server.auth import service, sessions

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def _nothing_stays(engine: Engine) -> Iterator[None]:
    yield
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE login_session, person, api_token"))


@pytest.fixture
def token(engine: Engine) -> str:
    return make_token(engine, "write")


@pytest.fixture
async def browser(make_client: MakeClient, token: str) -> AsyncIterator[httpx.AsyncClient]:
    async with make_client() as client:
        client.headers.update(BROWSER)
        assert (await client.post("/login", data={"token": token})).status_code == 303
        yield client


async def _why_out(browser: httpx.AsyncClient) -> str:
    """What the login page says once the server has noticed."""
    for _ in range(100):
        answer = await browser.get("/ui/tasks")
        if answer.status_code == 303:
            return (await browser.get(answer.headers["location"])).text
    pytest.fail("The session goes on")


async def test_the_cookie_is_not_the_token_and_is_stored_as_its_hash(
    browser: httpx.AsyncClient, token: str, engine: Engine
) -> None:
    shown = browser.cookies["watcher_session"]
    assert shown != token
    assert (await browser.get("/pipeline", headers=bearer(shown))).status_code == 401
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT row_to_json(login_session)::text FROM login_session")).scalar_one()
    assert shown not in stored
    assert service.digest(shown).hex() in stored


async def test_over_https_the_cookie_belongs_to_this_host_alone(browser: httpx.AsyncClient, token: str) -> None:
    answer = await browser.post("https://localhost/login", data={"token": token})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-watcher_session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie.lower()
    # What another host of the domain could set is not believed over https.
    plain = {"Cookie": f"watcher_session={browser.cookies['watcher_session']}"}
    browser.cookies.clear()
    assert (await browser.get("https://localhost/pipeline", headers=plain)).status_code == 401


async def test_who_logs_out_in_one_window_is_told_so_in_the_other(browser: httpx.AsyncClient) -> None:
    before = browser.cookies["watcher_session"]
    assert (await browser.post("/logout")).headers["location"] == "/login"
    assert "You were logged out" not in (await browser.get("/login")).text
    assert "You were logged out in another window." in await _why_out(browser)
    browser.cookies.set("watcher_session", before)
    assert "You were logged out in another window." in await _why_out(browser)


async def test_a_session_dies_with_its_token(browser: httpx.AsyncClient, engine: Engine) -> None:
    make_token(engine, "read", "another")
    with engine.begin() as connection:
        service.revoke_token(connection, "tester")
    assert "The token of this login was revoked." in await _why_out(browser)


async def test_a_session_dies_when_its_token_expires(browser: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE api_token SET expires_at = now() - interval '1 second'"))
    assert "The token of this login has expired." in await _why_out(browser)


@pytest.mark.parametrize(
    ("hours", "says"), [(11.9, None), (12.1, "Your session ended after 12 hours without use."), (24 * 8, "12 hours")]
)
async def test_a_session_without_use_ends(
    browser: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch, hours: float, says: str | None
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE login_session SET last_used_at = last_used_at - make_interval(secs => :s)"),
            {"s": hours * 3600},
        )
    if says is None:
        assert (await browser.get("/ui/tasks")).status_code == 200
    else:
        assert says in await _why_out(browser)


async def test_a_session_ends_after_seven_days_however_much_it_is_used(
    browser: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE login_session SET created_at = created_at - interval '7 days 1 minute'"))
    assert "Your session ended after 7 days." in await _why_out(browser)


async def test_use_is_stored_at_most_once_a_minute(
    browser: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE login_session SET last_used_at = now() - interval '3 hours'"))
    found = []
    for _ in range(200):
        await browser.get("/pipeline")
        with engine.connect() as connection:
            found.append(connection.scalar(text("SELECT last_used_at FROM login_session")))
        if found[-1] != found[0]:
            break
    assert found[-1].timestamp() == pytest.approx(time.time(), abs=60)


async def test_an_ended_session_is_no_failed_login(
    browser: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await browser.post("/logout")
    for _ in range(20):
        assert (await browser.get("/pipeline")).status_code == 401
    assert "login failed" not in caplog.text


async def test_everybody_ends_sessions_of_their_own_and_no_others(
    browser: httpx.AsyncClient, token: str, engine: Engine
) -> None:
    other = begin_session(engine, token)
    strangers = begin_session(engine, make_token(engine, "read", "stranger"))
    page = (await browser.get("/ui/account")).text
    assert page.count('name="session_id"') == 1
    assert "stranger" not in page
    ids = _ids(engine)
    for row in (ids[service.digest(strangers)], ids[service.digest(other)]):
        form = {"session_id": str(row)}
        answer = await browser.post("/ui/account/sessions/end", data=form, headers=SAME_ORIGIN)
        assert answer.status_code == 303
    with engine.connect() as connection:
        ended = connection.scalars(text("SELECT id FROM login_session WHERE ended_at IS NOT NULL")).all()
    assert ended == [ids[service.digest(other)]]


def _ids(engine: Engine) -> dict[bytes, int]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT session_hash, id FROM login_session"))
        return {bytes(row.session_hash): row.id for row in rows}


async def test_an_owner_has_so_many_sessions_and_the_oldest_make_room(
    engine: Engine, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_PER_OWNER", 3)
    begun = [begin_session(engine, token) for _ in range(5)]
    assert set(_ids(engine)) == {service.digest(each) for each in begun[-3:]}


async def test_a_login_is_known_to_the_other_process_at_once(make_client: MakeClient, token: str) -> None:
    async with make_client() as one, make_client() as other:
        for _ in range(3):
            # The other process has just read its book.
            await other.get("/pipeline", headers=bearer("watcher_wrong"))
            await one.post("/login", data={"token": token})
            cookie = {"Cookie": f"watcher_session={one.cookies['watcher_session']}"}
            assert (await other.get("/pipeline", headers=cookie)).status_code == 200


def test_what_is_over_is_forgotten_after_a_day(engine: Engine, token: str) -> None:
    kept, old = begin_session(engine, token), begin_session(engine, token)
    with engine.begin() as connection:
        sessions.end_session(connection, old.encode())
        sessions.forget_old_sessions(connection)
        assert sessions.find_session(connection, old.encode()) is not None
        connection.execute(text("UPDATE login_session SET ended_at = ended_at - interval '25 hours'"))
        sessions.forget_old_sessions(connection)
        assert sessions.find_session(connection, old.encode()) is None
        assert sessions.find_session(connection, kept.encode()) is not None
