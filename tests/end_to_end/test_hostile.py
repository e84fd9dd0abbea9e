"""Nothing that a request contains produces a 5xx: a bounded run of schemathesis over the whole API."""

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode

from tests.support.live import LiveServer
from watcher_server.app import create_app
from watcher_server.settings import load_settings

EXAMPLES_PER_OPERATION = 25


schema = schemathesis.openapi.from_dict(create_app(load_settings()).openapi())
schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@schema.parametrize()
@settings(
    max_examples=EXAMPLES_PER_OPERATION,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_a_server_error(case: schemathesis.Case[Any], live: LiveServer) -> None:
    response = case.call(base_url=live.url, timeout=30)

    assert response.status_code < 500, response.text


@pytest.mark.parametrize(
    "path", ["/pipeline/x", "/nowhere", "/pipeline_execution/%00", "/%ff", "/lineage-graph/?source_address_id=x"]
)
def test_odd_paths_are_client_errors(live: LiveServer, path: str) -> None:
    assert 400 <= httpx.get(live.url + path).status_code < 500


def _send_raw(url: str, request: bytes, *, then_close: bool) -> bytes:
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(request)
        if then_close:
            connection.shutdown(socket.SHUT_WR)
        return connection.recv(4096)


def test_half_a_request_changes_nothing(live: LiveServer) -> None:
    whole = httpx.post(f"{live.url}/pipeline", json={"name": "half", "pipeline_type_name": "t"}).json()
    body = b'{"pipeline_id": %d}' % whole["id"]
    head = b"POST /start_pipeline_execution HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    _send_raw(live.url, head + b"Content-Length: 500\r\n\r\n" + body, then_close=True)

    assert httpx.get(f"{live.url}/pipeline_execution", params={"pipeline_id": whole["id"]}).json() == []


def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(live: LiveServer) -> None:
    head = b"POST /pipeline HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    answer = _send_raw(live.url, head + b"Content-Length: 999999999999\r\n\r\n{}", then_close=False)

    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_that_nobody_asked_for_is_limited_too(live: LiveServer) -> None:
    answer = httpx.request("GET", f"{live.url}/pipeline", content=b" " * 9_000_000)

    assert answer.status_code == 413


def test_a_client_that_waits_to_be_asked_is_refused_at_once(live: LiveServer) -> None:
    head = b"POST /pipeline HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"

    answer = _send_raw(live.url, head + b"Content-Length: 99999999\r\n\r\n", then_close=False)

    assert answer.startswith(b"HTTP/1.1 413")


def test_an_offer_of_http_2_does_not_cost_the_body(live: LiveServer) -> None:
    body = b'{"name": "from java", "pipeline_type_name": "t"}'
    head = (
        b"POST /pipeline HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: %d\r\nHost: localhost\r\n"
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n"
        b"Content-Type: application/json\r\n\r\n" % len(body)
    )

    assert _send_raw(live.url, head + body, then_close=False).startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready", "/pipeline", "/reporting", "/docs"])
def test_head_is_get_without_the_body(live: LiveServer, path: str) -> None:
    answer = httpx.head(live.url + path)

    assert (answer.status_code, answer.content) == (200, b"")
