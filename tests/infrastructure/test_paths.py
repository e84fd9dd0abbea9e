"""Watcher under a path of a host, behind proxies that end TLS, and callers that say they were such a proxy."""

import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import create_database, worker_broker
from tests.support.certificates import certificate
from tests.support.crawl import crawl
from tests.support.live import free_port, wait_until, watcher_process
from tests.support.proxies import start_proxy
from tests.ui.support.site import make_engine
from watcher_server.auth.service import create_token

# The machine's own addresses stand for three machines.
PROXY, BROWSER, SOMEBODY = "127.0.0.2", "127.0.0.3", "127.0.0.4"
PROXIES = ("nginx", "haproxy")


@dataclass(frozen=True)
class Api:
    """An api that knows one address as its proxy, and under which URL the proxy shows it."""

    url: str
    port_of_proxy: int
    token: str
    log: Path


@pytest.fixture(scope="module")
def api(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """It believes 127.0.0.2 alone."""
    database_url = create_database(f"watcher_paths_{worker_id}")
    with make_engine(database_url).begin() as connection:
        token = create_token(connection, "an admin", "admin")
    port, port_of_proxy = free_port(), free_port()
    folder = tmp_path_factory.mktemp("paths")
    environment = {
        "WATCHER_HOME": str(folder / "home"),
        "WATCHER_DATABASE_URL": database_url,
        "WATCHER_BROKER_URL": worker_broker(worker_id, 2),
        "WATCHER_PORT": str(port),
        "WATCHER_PUBLIC_URL": f"https://127.0.0.1:{port_of_proxy}/watcher",
        "FORWARDED_ALLOW_IPS": PROXY,
    }
    url = f"http://127.0.0.1:{port}"
    with watcher_process(["api"], environment, folder / "api.log"):
        wait_until(lambda: _is_there(url), f"the api ({folder / 'api.log'})", seconds=120)
        yield Api(url, port_of_proxy, token, folder / "api.log")


@pytest.fixture(scope="module", params=PROXIES)
def shown(request: pytest.FixtureRequest, api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the proxy of the document shows the api: https, and a path."""
    folder = tmp_path_factory.mktemp(request.param)
    upstream, pair = urlsplit(api.url).netloc, certificate(folder)
    with start_proxy(
        request.param, upstream, folder, port=api.port_of_proxy, pair=pair, under_path=True, source=PROXY
    ) as url:
        yield url


def _is_there(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


def _client(address: str, url: str) -> httpx.Client:
    """A client with an address of its own, that takes the test's certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return httpx.Client(base_url=url, transport=httpx.HTTPTransport(verify=context, local_address=address), timeout=30)


def _log_in(browser: httpx.Client, shown: str, token: str) -> httpx.Response:
    browser.headers.update({"Sec-Fetch-Site": "same-origin", "Accept": "text/html"})
    return browser.post(f"{shown}/login", data={"token": token, "next": "/ui/pipelines"})


def test_a_person_logs_in_and_whatever_the_pages_lead_to_is_there_and_under_the_path(api: Api, shown: str) -> None:
    with _client(BROWSER, shown.removesuffix("/watcher")) as browser:
        refused = browser.get("/watcher/ui", headers={"Accept": "text/html"})
        assert refused.headers["location"] == "/watcher/login?next=/ui"
        entered = _log_in(browser, shown, api.token)
        assert entered.headers["location"] == "/watcher/ui/pipelines"
        assert re.match(
            r"__Secure-watcher_session=.+; HttpOnly; .*Path=/watcher; SameSite=lax; Secure$",
            entered.headers["set-cookie"],
        )
        assert entered.headers["strict-transport-security"] == "max-age=31536000"
        made = browser.post(f"{shown}/pipeline", json={"name": "orders", "pipeline_type_name": "load"})
        assert made.status_code in {200, 201}
        kinds, wrong = crawl(browser, "/watcher", ["", "/ui", "/docs", "/scalar", "/ui/audit"])
        assert wrong == []
        assert {"/watcher/ui/pipelines/N?", "/watcher/openapi.json?", "/watcher/ui/sources/connect?"} <= kinds
        assert len(kinds) > 60
        document = browser.get("/watcher/openapi.json").json()
        assert document["servers"] == [{"url": "/watcher"}]


def test_an_event_stream_and_a_ping_come_through(api: Api, shown: str) -> None:
    with _client(BROWSER, shown) as program:
        program.headers["Authorization"] = f"Bearer {api.token}"
        assert program.post(f"{shown}/freshness").status_code == 200
        task = program.get(f"{shown}/tasks").json()["tasks"][0]["id"]
        with program.stream("GET", f"{shown}/tasks/{task}/events") as stream:
            data = next(line for line in stream.iter_lines() if line.startswith("data:"))
        assert json.loads(data.removeprefix("data:"))["id"] == task
        program.post(f"{shown}/pipeline", json={"name": "orders", "pipeline_type_name": "load"})
        address = program.post(f"{shown}/ping_url", json={"name": "orders"}).json()["ping_url"]
        assert address.startswith(f"{shown}/ping/")
        assert program.get(address, headers={"Authorization": ""}).text == "OK"


def test_the_proxys_word_counts_and_not_that_of_its_clients(api: Api, shown: str) -> None:
    lies = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example"}
    with _client(BROWSER, shown) as liar:
        wrong = liar.get(f"{shown}/pipeline", headers={**lies, "Authorization": "Bearer not-one"})
        assert wrong.status_code == 401
        assert wrong.headers["strict-transport-security"]
        liar.headers.update({**lies, "Authorization": f"Bearer {api.token}"})
        liar.post(f"{shown}/pipeline", json={"name": f"made at {shown}", "pipeline_type_name": "load"})
        assert liar.get(f"{shown}/audit?limit=1").json()["entries"][0]["source"] == BROWSER
    assert f"A login failed: {BROWSER} " in api.log.read_text()
    assert "203.0.113.7" not in api.log.read_text()


def test_from_anywhere_else_the_headers_of_a_proxy_change_nothing(api: Api) -> None:
    lies = {
        "X-Forwarded-For": "127.0.0.9, 127.0.0.2",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=127.0.0.9;proto=https;host=evil.example",
    }
    with _client(SOMEBODY, api.url) as liar:
        liar.headers.update(lies)
        answers = [liar.get("/pipeline", headers={"Authorization": f"Bearer wrong {each}"}) for each in range(11)]
        assert [answer.status_code for answer in answers] == [*[401] * 10, 429]
        assert all("strict-transport-security" not in answer.headers for answer in answers)
        with _client(BROWSER, api.url) as other:
            assert other.get("/pipeline", headers={"Authorization": "Bearer wrong"}).status_code == 401
        entered = _log_in(liar, api.url, api.token)
        assert entered.headers["set-cookie"].startswith("watcher_session=")
        assert "Secure" not in entered.headers["set-cookie"]
        liar.headers["Authorization"] = f"Bearer {api.token}"
        liar.post("/pipeline", json={"name": "of a liar", "pipeline_type_name": "load"})
        assert liar.get("/audit?limit=1").json()["entries"][0]["source"] == SOMEBODY
        assert "evil" not in liar.get("/ui/sources/connect").text
    said = api.log.read_text()
    assert f"A login failed: {SOMEBODY} " in said
    assert "127.0.0.9" not in said
