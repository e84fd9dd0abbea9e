"""Who may ask, and who may change."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from tests.auth.test_access import bearer, make_token, revoke
from tests.incidents.records import add_incident, incident
from tests.mcp.asking import Connect, ask, refusal
from tests.support.logins import session_cookie
from tests.support.rows import add_pipeline, add_run
from watcher_server.mcp_server import routes

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
HEADERS = {"Accept": "application/json, text/event-stream"}
CHANGES = {"acknowledge", "snooze", "mute", "unflag"}


@pytest.fixture(autouse=True)
def _no_token_outlives_its_test(engine: Engine) -> Iterator[None]:
    yield
    for name in ("reader", "writer", "admin"):
        revoke(engine, name)


async def test_a_token_that_may_read_asks_and_changes_nothing(asking: Connect, engine: Engine) -> None:
    token = make_token(engine, "read", "reader")
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        run = add_run(connection, pipeline, anomaly_flags={"inserts": True})
        add_incident(connection, pipeline)
        before = incident(connection, 1)
    async with asking(token) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert not names & CHANGES
        assert "⟦orders⟧" in await ask(client, "search", text="orders")
        for tool, arguments in (
            ("acknowledge", {"incident": 1}),
            ("snooze", {"incident": 1, "until": "worse"}),
            ("mute", {"pipeline": "orders", "check": "freshness"}),
            ("unflag", {"run": run, "metrics": ["inserts"]}),
        ):
            told = await refusal(client, tool, **arguments)
            assert told == f"This token may only read: {tool} needs one with the scope write."
    with engine.begin() as connection:
        assert incident(connection, 1) == before
        assert connection.exec_driver_sql("SELECT mute_freshness_check FROM pipeline").scalar() is False
        flags = connection.exec_driver_sql("SELECT anomaly_flags FROM pipeline_execution").scalar()
    assert flags == {"inserts": True}


@pytest.mark.parametrize("scope", ["write", "admin"])
async def test_a_token_that_may_write_changes_in_its_name(asking: Connect, engine: Engine, scope: str) -> None:
    token = make_token(engine, scope, "writer")
    with engine.begin() as connection:
        add_incident(connection, add_pipeline(connection))
    async with asking(token) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} >= CHANGES
        await ask(client, "acknowledge", incident=1)
    with engine.begin() as connection:
        assert incident(connection, 1)["acknowledged_by"] == "writer"


async def test_without_a_valid_token_nothing_is_answered(client: httpx.AsyncClient, engine: Engine) -> None:
    make_token(engine, "read", "reader")
    for headers in ({}, bearer("watcher_wrong")):
        assert (await client.post("/mcp", json=PING, headers={**HEADERS, **headers})).status_code == 401


async def test_a_page_of_another_site_cannot_ask(client: httpx.AsyncClient, engine: Engine) -> None:
    foreign = {**HEADERS, "Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert (await client.post("/mcp", json=PING, headers=foreign)).status_code == 403
    rebound = {**HEADERS, "Host": "elsewhere.example"}
    assert (await client.post("/mcp", json=PING, headers=rebound)).status_code == 421
    cookie = session_cookie(engine, make_token(engine, "admin", "admin"))
    assert (await client.post("/mcp", json=PING, headers={**foreign, **cookie})).status_code == 403


async def test_the_path_below_is_none_of_it(client: httpx.AsyncClient, engine: Engine) -> None:
    token = make_token(engine, "read", "reader")
    answer = await client.post("/mcp/", json=PING, headers={**HEADERS, **bearer(token)})
    assert answer.status_code == 403


async def test_without_the_extra_it_says_so(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'mcp'", name="mcp")

    monkeypatch.setattr(routes, "_load", missing)
    monkeypatch.setattr(routes.ENDPOINT, "_answer", None)
    answer = await client.post("/mcp", json=PING, headers=HEADERS)
    assert answer.status_code == 501
    assert "pip install 'watcher-server[mcp]'" in answer.json()["detail"]
