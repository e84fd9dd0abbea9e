"""Who may call what."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.conftest import MakeClient, serve
from tests.support.logins import session_cookie
from watcher_server.app import create_app
from watcher_server.auth import book, service
from watcher_server.auth.book import _STALE_SECONDS
from watcher_server.settings import load_settings

OPEN_PATHS = ("/", "/health/live", "/health/ready", "/login", "/static/watcher.css")
PIPELINE = {"name": "orders", "pipeline_type_name": "extraction"}
CLEANUP = {"retention_days": 90}


def make_token(engine: Engine, scope: str = "admin", name: str = "tester") -> str:
    with engine.begin() as connection:
        return service.create_token(connection, name, scope)


def revoke(engine: Engine, name: str = "tester") -> None:
    with engine.begin() as connection:
        service.revoke_token(connection, name)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(autouse=True)
def _no_token_outlives_its_test(engine: Engine) -> Iterator[None]:
    yield
    for token in _list(engine):
        revoke(engine, token.name)


def _list(engine: Engine) -> list[service.ListedToken]:
    with engine.begin() as connection:
        return service.list_tokens(connection)


async def eventually(client: httpx.AsyncClient, headers: dict[str, str], status: int) -> float:
    """Seconds until the answer has that status."""
    began = time.monotonic()
    while (await client.get("/pipeline", headers=headers)).status_code != status:
        assert time.monotonic() - began < 5
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def test_without_tokens_everything_is_open(client: httpx.AsyncClient) -> None:
    assert (await client.post("/pipeline", json=PIPELINE)).status_code == 201
    assert (await client.post("/log_cleanup", json=CLEANUP)).status_code == 200


async def test_with_tokens_a_caller_must_show_one(make_client: MakeClient, engine: Engine) -> None:
    token = make_token(engine)
    async with make_client() as client:
        without = await client.get("/pipeline")
        wrong = await client.get("/pipeline", headers=bearer("watcher_wrong"))
        basic = await client.get("/pipeline", headers={"Authorization": f"Basic {token}"})
        right = await client.get("/pipeline", headers=bearer(token))

    assert [answer.status_code for answer in (without, wrong, basic, right)] == [401, 401, 401, 200]
    assert without.headers["WWW-Authenticate"] == "Bearer"
    assert "watcher token create" in without.json()["detail"]
    assert "watcher_wrong" not in wrong.text


async def test_an_application_that_starts_anew_knows_no_token_of_before(engine: Engine) -> None:
    app = create_app(load_settings(relay_enabled=False))
    token = make_token(engine)
    async with serve(app) as client:
        assert (await client.get("/pipeline")).status_code == 401
        # When the token was used is stored in the background.
        assert (await client.get("/nowhere", headers=bearer(token))).status_code == 404
    assert "token-book" not in {task.get_name() for task in asyncio.all_tasks()}

    revoke(engine)
    async with serve(app) as client:
        assert (await client.get("/pipeline")).status_code == 200


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/scalar", "/diagnostics", "/nowhere", "//"])
async def test_nothing_but_the_open_pages_is_shown_without_a_token(
    make_client: MakeClient, engine: Engine, path: str
) -> None:
    make_token(engine)
    async with make_client() as client:
        assert (await client.get(f"http://localhost{path}")).status_code == 401
        for open_path in OPEN_PATHS:
            assert (await client.get(open_path)).status_code in {200, 503}


@pytest.mark.parametrize(
    ("scope", "statuses"), [("read", [200, 403, 403]), ("write", [200, 201, 403]), ("admin", [200, 201, 200])]
)
async def test_a_token_is_good_for_its_scope(
    make_client: MakeClient, engine: Engine, scope: str, statuses: list[int]
) -> None:
    headers = bearer(make_token(engine, scope))
    async with make_client() as client:
        answers = (
            await client.get("/pipeline", headers=headers),
            await client.post("/pipeline", json=PIPELINE, headers=headers),
            await client.post("/log_cleanup", json=CLEANUP, headers=headers),
        )
    assert [answer.status_code for answer in answers] == statuses


@pytest.mark.parametrize(
    ("scope", "statuses"), [("read", [200, 403, 403]), ("write", [200, 403, 403]), ("admin", [200, 200, 204])]
)
async def test_changing_a_rate_limit_is_for_administrators(
    make_client: MakeClient, engine: Engine, scope: str, statuses: list[int]
) -> None:
    path, headers = "/rate-limits/detect_anomalies_task", bearer(make_token(engine, scope))
    async with make_client() as client:
        answers = (
            await client.get("/rate-limits", headers=headers),
            await client.put(path, json={"limit": "none"}, headers=headers),
            await client.delete(path, headers=headers),
        )
    assert [answer.status_code for answer in answers] == statuses


async def test_a_refused_scope_is_named(make_client: MakeClient, engine: Engine) -> None:
    headers = bearer(make_token(engine, "read"))
    async with make_client() as client:
        answer = await client.post("/pipeline", json=PIPELINE, headers=headers)
    assert answer.json() == {"detail": "This token may only read: use one with the scope write."}


async def test_a_new_token_works_at_once_and_a_revoked_one_stops_within_seconds(
    make_client: MakeClient, engine: Engine
) -> None:
    keeper = make_token(engine, name="keeper")
    async with make_client() as client:
        assert (await client.get("/pipeline", headers=bearer(keeper))).status_code == 200
        await asyncio.sleep(0.3)
        token = make_token(engine, name="new")
        assert (await client.get("/pipeline", headers=bearer(token))).status_code == 200

        revoke(engine, "new")
        assert await eventually(client, bearer(token), 401) < 4
        assert (await client.get("/pipeline", headers=bearer(keeper))).status_code == 200


async def test_the_first_token_closes_a_running_server(make_client: MakeClient, engine: Engine) -> None:
    async with make_client() as client:
        assert (await client.get("/pipeline")).status_code == 200
        make_token(engine)
        assert await eventually(client, {}, 401) < 4


async def test_a_server_on_the_network_does_not_open_when_its_last_token_is_revoked(make_client: MakeClient) -> None:
    async with make_client(host="0.0.0.0") as client:  # noqa: S104 - the case under test; nothing listens
        assert (await client.get("/pipeline")).status_code == 401
    async with make_client(host="0.0.0.0", allow_unauthenticated=True) as client:  # noqa: S104 - the same
        assert (await client.get("/pipeline")).status_code == 200


async def test_last_use_is_stored_after_one_request(make_client: MakeClient, engine: Engine) -> None:
    token = make_token(engine)
    async with make_client() as client:
        began = time.time()
        assert (await client.get("/pipeline", headers=bearer(token))).status_code == 200
        # It is stored in the background, so the answer may come first.
        for _ in range(100):
            if (used := _list(engine)[0].last_used_at) is not None:
                break
            await asyncio.sleep(0.05)
    assert used is not None
    assert began - 1 < used.timestamp() < time.time() + 1


@pytest.mark.parametrize(("idle_seconds", "status"), [(_STALE_SECONDS - 1, 200), (_STALE_SECONDS + 1, 401)])
async def test_a_server_that_was_idle_reads_the_tokens_before_it_answers(
    make_client: MakeClient, engine: Engine, monkeypatch: pytest.MonkeyPatch, idle_seconds: float, status: int
) -> None:
    token = make_token(engine)
    make_token(engine, name="another")
    async with make_client() as client:
        assert (await client.get("/pipeline", headers=bearer(token))).status_code == 200
        revoke(engine)
        monkeypatch.setattr(book, "time", _Later(idle_seconds))
        # After a shorter rest the answer is that of the last reading, and a new one begins in the background.
        assert (await client.get("/pipeline", headers=bearer(token))).status_code == status


class _Later:
    """The module ``time``, ahead by some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._seconds

    def time(self) -> float:
        return time.time() + self._seconds


async def test_without_a_database_a_server_that_never_read_the_tokens_answers_503(make_client: MakeClient) -> None:
    async with make_client(database_url="postgresql://nobody@127.0.0.1:1/none") as client:
        answer = await client.get("/pipeline")
        welcome = await client.get("/")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("The database that holds the tokens does not answer")
    assert welcome.status_code == 200


REPORTS: tuple[tuple[str, Any], ...] = (
    ("/start_pipeline_execution", {"pipeline_id": 1}),
    ("/end_pipeline_execution", {"id": 1, "completed_successfully": True}),
    ("/api/v1/lineage", {}),
    ("/api/v1/lineage/batch", []),
)


async def test_a_token_that_only_reports_may_report(make_client: MakeClient, engine: Engine) -> None:
    headers = bearer(make_token(engine, "ingest"))
    async with make_client() as client:
        answers = [await client.post(path, json=body, headers=headers) for path, body in REPORTS]
    # Let in, and told what is wrong with the report.
    assert [answer.status_code for answer in answers] == [404, 404, 422, 200]


async def test_a_token_that_only_reports_may_do_nothing_else(make_client: MakeClient, engine: Engine) -> None:
    token = make_token(engine, "ingest")
    as_page = {"Accept": "text/html", **session_cookie(engine, token)}
    async with make_client() as client:
        paths = (await client.get("/openapi.json", headers=bearer(make_token(engine, "admin", "other")))).json()[
            "paths"
        ]
        asked = [
            (method.upper(), path.replace("{", "").replace("}", ""))
            for path, methods in paths.items()
            for method in methods
        ]
        others = [
            (method, path)
            for method, path in asked
            if path not in {"/", "/health/live", "/health/ready"} and (path not in dict(REPORTS) or method != "POST")
        ]
        answers = [await client.request(method, path, headers=bearer(token)) for method, path in others]
        looked = [await client.get(path, headers=as_page) for path in ("/", "/ui", "/ui/pipelines", "/reporting")]
        looked += [await client.get(path, headers=bearer(token)) for path, _ in REPORTS]
        login = await client.post("/login", data={"token": token})
        sent = await client.post("/api/v1/lineage", json={}, headers=as_page)

    assert len(others) > 50
    assert {answer.status_code for answer in (*answers, *looked)} == {403}
    assert answers[0].json()["detail"].startswith("This token may only report runs: use one with the scope ")
    assert login.status_code == 403
    assert "set-cookie" not in login.headers
    assert "may only report runs" in login.text
    # A cookie changes something only on the word of the browser that a page of Watcher asks.
    assert sent.status_code == 401
