"""How the HTTP server reads connections: offers, odd requests, slow clients, and too many of them."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.support.edge import MUCH, serve_echo
from tests.support.raw_http import RawConnection, ask_once
from watcher_server.cli import connections, protocol
from watcher_server.settings import get_settings

OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nUpgrade: h2c\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with the limits that the api has."""
    with serve_echo() as address:
        yield address


@pytest.fixture
def hasty_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that waits half a second for a head, and one for a body or for an answer to be read."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(protocol, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(connections, "CHECK_SECONDS", 0.1)
    with serve_echo() as address:
        yield address


def _echoed(body: bytes) -> tuple[str, str]:
    answer = json.loads(body)
    return answer["path"], answer["body"]


@pytest.mark.parametrize("offer", [OFFER, WEBSOCKET, b"connection: upgrade\r\nUPGRADE: x\r\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_offer_is_ignored_and_the_body_read(url: str, offer: bytes, size: int) -> None:
    request = POST + offer + b"Content-Length: 12\r\n\r\nUpgrade: h2c"
    parts = [request[start : start + size] for start in range(0, len(request), size)]

    with RawConnection(url) as kept:
        answers = [kept.ask(*parts), kept.ask(*parts), kept.ask(GET, method="GET")]

    assert [_echoed(answer.body) for answer in answers] == [("/a", "Upgrade: h2c")] * 2 + [("/b", "")]


def test_an_offer_with_a_chunked_body_is_ignored(url: str) -> None:
    chunks = b"Transfer-Encoding: chunked\r\n\r\n3\r\n\r\nU\r\n4\r\npgra\r\n0\r\n\r\n"

    with RawConnection(url) as kept:
        answers = [kept.ask(POST + OFFER + chunks), kept.ask(GET, method="GET")]

    assert [_echoed(answer.body) for answer in answers] == [("/a", "\r\nUpgra"), ("/b", "")]


def test_pipelined_requests_are_answered_in_their_order(url: str) -> None:
    several = [b"POST /%d HTTP/1.1\r\nHost: x\r\n%sContent-Length: 1\r\n\r\n%d" % (n, OFFER, n) for n in range(9)]
    with RawConnection(url) as connection:
        connection.socket.sendall(b"".join(several) + b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = connection.read_all()

    bodies = [part.partition(b"}")[0] + b"}" for part in received.split(b"\r\n{")[1:]]
    expected = [(f"/{n}", str(n)) for n in range(9)] + [("/last", "")]
    assert [_echoed(b"{" + body) for body in bodies] == expected


def test_a_client_that_waits_to_be_asked_is_asked(url: str) -> None:
    with RawConnection(url) as connection:
        connection.socket.sendall(POST + OFFER + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.socket.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert _echoed(connection.ask(b"ok").body) == ("/a", "ok")


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Transfer-Encoding: gzip, chunked, identity\r\n\r\nabc",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Folded: a\r\n b\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Space : a\r\nContent-Length: 3\r\n\r\nabc",
        POST + OFFER + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"POST /a HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc",
        b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /a HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x@y/a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x/a HTTP/1.1\r\nX: x\r\n\r\n",
        b"GET http://x:99999999/a HTTP/1.1\r\nHost: x:99999999\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_proxies_may_read_in_another_way_is_refused_and_ends_the_connection(url: str, request_: bytes) -> None:
    with RawConnection(url) as connection:
        connection.socket.sendall(request_ + GET)
        received = connection.read_all()

    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("target", [b"http://X:80/a?b", b"https://x:80/a", b"http://x:80/a/../a"])
def test_the_absolute_form_of_the_same_host_is_served(url: str, target: bytes) -> None:
    answer = ask_once(url, b"GET %s HTTP/1.1\r\nHost: x:80\r\n\r\n" % target, method="GET")

    assert answer.status == 200


def test_a_target_that_cannot_be_read_is_refused_after_the_answers_to_earlier_requests(url: str) -> None:
    with RawConnection(url) as connection:
        connection.socket.sendall(GET * 2 + b"GET http://x:99999999/ HTTP/1.1\r\nHost: x:99999999\r\n\r\n")
        received = connection.read_all()

    assert (received.count(b"HTTP/1.1 200 "), received.count(b"HTTP/1.1 400 ")) == (2, 1)


def test_trailers_are_not_headers(url: str) -> None:
    answer = ask_once(url, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")

    assert "x-forwarded-for" not in dict(json.loads(answer.body)["headers"])


def test_what_is_broken_behind_a_request_is_refused_after_its_answer(url: str) -> None:
    with RawConnection(url) as connection:
        connection.socket.sendall(GET + b"NONSENSE\r\n\r\n")
        received = connection.read_all()

    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b"HTTP/1.1 400 ") == 1


@pytest.mark.parametrize("head", [b"GET /a HTTP/1.1\r\nX: ", b"GET /", b"GET /a HTTP/1.1\r\n" + b"A: " * 20_000])
def test_a_head_without_an_end_is_refused(url: str, head: bytes) -> None:
    with RawConnection(url) as connection:
        connection.socket.sendall(head + b"x" * 60_000)
        assert connection.socket.recv(4096).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("sent", [b"GET / HTT", b"\r\n", POST + b"Content-Length: 5\r\n\r\nabc"])
def test_half_a_request_is_given_up(hasty_url: str, sent: bytes) -> None:
    with RawConnection(hasty_url) as connection:
        started = time.monotonic()
        connection.socket.sendall(sent)
        assert connection.read_all().startswith(b"HTTP/1.1 408 ")

    assert time.monotonic() - started < 3


def test_bytes_that_drip_do_not_prolong_a_request(hasty_url: str) -> None:
    started = time.monotonic()
    with RawConnection(hasty_url) as connection:
        connection.socket.settimeout(0.1)
        connection.socket.sendall(b"GET /")
        while not _ends(connection):
            connection.socket.sendall(b"x")

    assert time.monotonic() - started < 3


def _ends(connection: RawConnection) -> bool:
    try:
        return connection.socket.recv(4096).startswith(b"HTTP/1.1 408 ")
    except TimeoutError:
        return False


def _ask_for_much(url: str) -> socket.socket:
    """A connection whose client does not read the 20 MB that it asked for."""
    client = socket.create_connection((urlsplit(url).hostname or "", urlsplit(url).port or 80), timeout=20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    client.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
    return client


def test_an_answer_that_is_not_read_is_given_up(hasty_url: str) -> None:
    received = 0
    with _ask_for_much(hasty_url) as client, suppress(ConnectionResetError):
        time.sleep(3)
        while piece := client.recv(1024 * 1024):
            received += len(piece)

    assert received < MUCH


def test_an_answer_that_is_read_slowly_is_sent_whole(hasty_url: str) -> None:
    received = 0
    with _ask_for_much(hasty_url) as client, suppress(ConnectionResetError):
        while received <= MUCH and (piece := client.recv(1024 * 1024)):
            received += len(piece)
            time.sleep(0.01)

    assert received > MUCH


def test_a_connection_that_says_nothing_is_closed(hasty_url: str) -> None:
    with RawConnection(hasty_url) as connection:
        assert connection.read_all() == b""


def test_a_refused_body_that_goes_on_is_given_up_too(hasty_url: str) -> None:
    with RawConnection(hasty_url) as connection:
        early = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
        assert connection.ask(early).status == 200
        connection.socket.sendall(b"abc")
        assert connection.read_all() == b""


def test_a_long_answer_is_not_cut_by_deadlines(hasty_url: str) -> None:
    with RawConnection(hasty_url) as connection:
        connection.socket.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.socket.settimeout(2)
        with pytest.raises(TimeoutError):
            connection.read_all()


@pytest.fixture
def limited_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server for ten connections."""
    monkeypatch.setenv("WATCHER_MAX_CONNECTIONS", "10")
    monkeypatch.setattr(connections, "CHECK_SECONDS", 0.1)
    get_settings.cache_clear()
    with serve_echo() as address:
        yield address
    get_settings.cache_clear()


def test_one_connection_too_many_is_told_so(limited_url: str) -> None:
    held = [RawConnection(limited_url) for _ in range(10)]
    for connection in held:
        connection.ask(GET, method="GET")

    refused = ask_once(limited_url, GET, method="GET")
    held.pop().socket.close()
    time.sleep(0.2)
    accepted = ask_once(limited_url, GET, method="GET")

    for connection in held:
        connection.socket.close()
    assert (refused.status, accepted.status) == (503, 200)


def _book(most_per_address: int) -> connections.ConnectionBook:
    proxies = ProxyHeadersMiddleware(None, "10.0.0.9")  # type: ignore[arg-type]
    return connections.ConnectionBook(1000, most_per_address, proxies)


class _Still:
    def check_deadline(self, now: float) -> None:
        """Never closes."""


@pytest.mark.parametrize(
    ("address", "same", "admitted"),
    [
        ("192.0.2.1", "192.0.2.1", 3),
        ("2001:db8::1", "2001:db8::2", 3),
        ("::ffff:192.0.2.1", "192.0.2.1", 3),
        ("192.0.2.1", "192.0.2.2", 4),
        ("127.0.0.1", "127.0.0.1", 5),
        ("::1", "::1", 5),
        ("10.0.0.9", "10.0.0.9", 5),
    ],
)
async def test_one_address_cannot_take_all_connections_but_a_proxy_may(address: str, same: str, admitted: int) -> None:
    book = _book(most_per_address=3)

    answers = [book.admit(_Still(), address) for _ in range(3)] + [book.admit(_Still(), same) for _ in range(2)]

    expected = {3: [True] * 3 + [False] * 2, 4: [True] * 5, 5: [True] * 5}
    assert answers == expected[admitted]


async def test_an_address_may_come_again_once_a_connection_is_closed() -> None:
    book = _book(most_per_address=1)
    first = _Still()

    answers = [book.admit(first, "192.0.2.1"), book.admit(_Still(), "192.0.2.2")]
    book.release(first)

    assert [*answers, book.admit(_Still(), "192.0.2.1")] == [True, True, True]
