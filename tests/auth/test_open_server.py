"""What a server without tokens answers: requests that come straight from its own machine, and no others."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.types import Message

from tests.auth.test_access import bearer, eventually, make_token, revoke
from tests.conftest import MakeClient
from tests.support.live import free_port, wait_until
from watcher_server.app import create_app
from watcher_server.auth.network import host_name, is_loopback
from watcher_server.settings import SettingsError, load_settings

HERE = ("127.0.0.1", 8000)
PROXY_HEADERS = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Anything",
    "X-Real-IP",
    "Via",
)
OTHER_HOSTS = (
    "watcher.evil.test",
    "localhost.evil.test",
    "127.0.0.1.evil.test",
    "0.0.0.0",  # noqa: S104 - browsers take it for this machine
    "192.0.2.1:8000",
    "[2001:db8::1]:8000",
    "[::1].evil.test",
    "localhost:80:80",
    "evil.test:[::1]",
    "",
)
OWN_HOSTS = ("localhost", "LOCALHOST:8000", "127.0.0.1", "127.8.8.8:1", "[::1]", "[::1]:8000", "[::ffff:127.0.0.1]:80")


@dataclass
class Answer:
    status: int
    detail: str


@dataclass
class Asking:
    """A request as the HTTP server hands it to the application; by default the one that is let in."""

    path: str = "/pipeline"
    server: tuple[str, int | None] | None = HERE
    client: tuple[str, int] | None = ("127.0.0.1", 50_000)
    http_version: str = "1.1"
    headers: dict[str, str] = field(default_factory=lambda: {"Host": "localhost:8000"})

    async def of(self, app: FastAPI) -> Answer:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "method": "GET",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": b"",
            "http_version": self.http_version,
            "headers": headers,
            "server": self.server,
            "client": self.client,
        }
        await app(scope, receive, send)
        content = json.loads(b"".join(message.get("body", b"") for message in sent))
        return Answer(sent[0]["status"], content.get("detail", "") if isinstance(content, dict) else "")


@asynccontextmanager
async def _running(**settings: Any) -> AsyncIterator[FastAPI]:
    app = create_app(load_settings(relay_enabled=False, **settings))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def app(engine: Engine) -> AsyncIterator[FastAPI]:
    assert engine
    async with _running() as app:
        yield app


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_this_machine_is_let_in_by_its_own_names(app: FastAPI, host: str) -> None:
    assert (await Asking(headers={"Host": host}).of(app)).status == 200


@pytest.mark.parametrize("host", OTHER_HOSTS)
async def test_a_name_that_was_pointed_at_this_machine_is_refused(app: FastAPI, host: str) -> None:
    answer = await Asking(headers={"Host": host}).of(app)

    assert answer.status == 421
    assert "WATCHER_ALLOWED_HOSTS" in answer.detail
    assert "watcher token create" in answer.detail


async def test_a_request_without_a_host_is_refused(app: FastAPI) -> None:
    assert (await Asking(headers={}).of(app)).status == 421


@pytest.mark.parametrize("name", PROXY_HEADERS)
async def test_what_a_proxy_hands_on_is_refused(app: FastAPI, name: str) -> None:
    answer = await Asking(headers={"Host": "localhost", name: "127.0.0.1"}).of(app)

    assert answer.status == 401
    assert "through a proxy" in answer.detail
    assert "`watcher token create NAME --scope admin`" in answer.detail


async def test_http_1_0_is_taken_for_a_proxy_that_adds_no_header(app: FastAPI) -> None:
    assert (await Asking(http_version="1.0").of(app)).status == 401


@pytest.mark.parametrize("path", ["/", "/ui", "/pipeline", "/docs", "/metrics"])
async def test_pages_are_refused_as_the_api_is(app: FastAPI, path: str) -> None:
    page = {"Accept": "text/html"}
    assert (await Asking(path=path, headers={"Host": "evil.test", **page}).of(app)).status == 421
    proxied = await Asking(path=path, headers={"Host": "localhost", "X-Forwarded-For": "192.0.2.1", **page}).of(app)
    assert proxied.status == 401
    assert "watcher token create" in proxied.detail


@pytest.mark.parametrize(
    "ends",
    [
        {"server": ("192.0.2.1", 8000), "client": ("192.0.2.1", 50_000)},
        {"client": ("192.0.2.7", 50_000)},
        {"client": ("2001:db8::7", 50_000)},
        {"server": ("::ffff:192.0.2.1", 8000)},
        {"client": None},
        {"server": None},
        # A Unix socket, which uvicorn opens to every user of the machine, is there for a proxy.
        {"server": ("/run/watcher.sock", None), "client": None},
    ],
)
async def test_the_addresses_of_the_socket_count_not_the_setting(app: FastAPI, ends: dict[str, Any]) -> None:
    answer = await Asking(**ends).of(app)

    assert answer.status == 401
    assert "watcher token create" in answer.detail


async def test_a_socket_for_both_versions_of_ip_is_on_this_machine_too(app: FastAPI) -> None:
    for address in ("::ffff:127.0.0.1", "::1"):
        assert (await Asking(server=(address, 8000), client=(address, 50_000)).of(app)).status == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_probes_are_answered_under_any_name(engine: Engine, path: str) -> None:
    probe = Asking(path=path, server=("10.0.0.9", 8000), client=("10.0.0.1", 1), headers={"Host": "10.0.0.9:8000"})
    async with _running() as app:
        assert (await probe.of(app)).status in {200, 503}
    async with _running(allowed_hosts="watcher.example.com", require_token=True) as app:
        assert (await probe.of(app)).status in {200, 503}


async def test_allowed_hosts_are_let_in_by_name_and_nothing_else_changes(engine: Engine) -> None:
    async with _running(allowed_hosts=" Watcher.example.com, 10.0.0.9,") as app:
        for host in ("watcher.example.com", "WATCHER.example.com:443", "10.0.0.9:8000", "localhost", "[::1]:8000"):
            assert (await Asking(headers={"Host": host}).of(app)).status == 200
        for host in ("example.com", "a.watcher.example.com", "10.0.0.90"):
            refused = await Asking(headers={"Host": host}).of(app)
            assert refused.status == 421
            assert "WATCHER_ALLOWED_HOSTS" in refused.detail
        elsewhere = Asking(server=("10.0.0.9", 8000), client=("10.0.0.1", 1), headers={"Host": "10.0.0.9"})
        assert (await elsewhere.of(app)).status == 401


async def test_with_a_token_any_name_and_any_way_will_do(make_client: MakeClient, engine: Engine) -> None:
    headers = {**bearer(make_token(engine)), "Host": "watcher.example.com", "X-Forwarded-For": "192.0.2.1"}
    async with make_client() as client:
        assert (await client.get("http://watcher.example.com/pipeline", headers=headers)).status_code == 200
    async with make_client(allowed_hosts="other.example.com") as client:
        assert (await client.get("/pipeline", headers=headers)).status_code == 421
        assert (await client.get("/login", headers=headers)).status_code == 421
    revoke(engine)


async def test_told_to_let_everybody_in_it_does(engine: Engine) -> None:
    anyone = Asking(
        server=("192.0.2.1", 80),
        client=("192.0.2.7", 1),
        headers={"Host": "watcher.test", "Forwarded": "for=192.0.2.9"},
    )
    async with _running(allow_unauthenticated=True) as app:
        assert (await anyone.of(app)).status == 200
    async with _running(allow_unauthenticated=True, allowed_hosts="watcher.example.com") as app:
        assert (await anyone.of(app)).status == 421


async def test_a_server_that_requires_a_token_never_opens(make_client: MakeClient, engine: Engine) -> None:
    async with make_client(require_token=True) as client:
        assert (await client.get("/pipeline")).status_code == 401
        token = make_token(engine)
        await eventually(client, bearer(token), 200)
        revoke(engine)
        await eventually(client, bearer(token), 401)
        assert (await client.get("/pipeline")).status_code == 401
    async with make_client(require_token=True) as client:
        assert (await client.get("/pipeline")).status_code == 401
        assert (await client.get("/pipeline", headers=bearer(token))).status_code == 401


def test_settings_that_contradict_each_other_or_are_no_hosts_are_refused() -> None:
    with pytest.raises(SettingsError, match="contradict"):
        load_settings(require_token=True, allow_unauthenticated=True)
    for hosts in ("https://watcher.example.com", "watcher.example.com:443", "*", "a b"):
        with pytest.raises(SettingsError, match="WATCHER_ALLOWED_HOSTS must be names such as"):
            load_settings(allowed_hosts=hosts)


@pytest.mark.parametrize(("ask", "size"), [(host_name, 256), (is_loopback, 256)])
def test_what_callers_send_is_not_kept_without_bound(ask: Callable[[Any], object], size: int) -> None:
    for number in range(1000):
        ask(f"h{number}".encode() if ask is host_name else f"h{number}")
    assert ask.cache_info().currsize <= size  # type: ignore[attr-defined]  # of lru_cache


def _own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the system only chooses the address it would send from.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has loopback addresses only")
        return str(probe.getsockname()[0])


def test_uvicorn_started_by_hand_on_every_address_lets_no_stranger_in(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    address, port = _own_address(), free_port()
    arguments = ("uvicorn", "watcher_server.app:create_app", "--factory", "--host", "0.0.0.0", "--port", str(port))  # noqa: S104
    environment = {**os.environ, "WATCHER_RELAY_ENABLED": "false", "WATCHER_HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: _status(f"http://127.0.0.1:{port}/health/live") == 200, "the server")
        assert _status(f"http://{address}:{port}/health/live") == 200
        assert _status(f"http://{address}:{port}/pipeline") == 401
        assert _status(f"http://{address}:{port}/pipeline", {"Host": "localhost"}) == 401
        assert _status(f"http://127.0.0.1:{port}/pipeline", {"Host": "rebound.evil.test"}) == 421
        assert _status(f"http://127.0.0.1:{port}/pipeline", {"X-Forwarded-For": "127.0.0.1"}) == 401
        assert _status(f"http://127.0.0.1:{port}/pipeline") == 200
    finally:
        server.terminate()
        server.wait(20)


def _status(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        return httpx.get(url, headers=headers, timeout=10, trust_env=False).status_code
    except httpx.HTTPError:
        return 0
