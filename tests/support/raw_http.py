"""HTTP written byte by byte, as no client library would send it."""

import random
import socket
import time
from dataclasses import dataclass
from http.client import HTTPResponse
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 15


@dataclass(frozen=True)
class Answer:
    """What must be the same whatever the connection has seen before."""

    status: int
    body: bytes


class RawConnection:
    """One connection, over which requests go as bytes."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname or "", address.port or 80), timeout=TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.socket.close()

    def ask(self, *parts: bytes, method: str = "POST") -> Answer:
        """Send a request in these parts, with a moment between them, and read the whole answer."""
        for part in parts:
            self.socket.sendall(part)
            if len(parts) > 1:
                time.sleep(0.002)
        return self.read(method)

    def read(self, method: str = "POST") -> Answer:
        """The next answer. Where several follow each other, this reads too far."""
        response = HTTPResponse(self.socket, method=method)
        response.begin()
        return Answer(response.status, response.read())

    def read_all(self) -> bytes:
        """Everything until the server closes the connection."""
        received = b""
        while piece := self.socket.recv(65536):
            received += piece
        return received


def ask_once(url: str, *parts: bytes, method: str = "POST") -> Answer:
    """The answer over a connection of its own."""
    with RawConnection(url) as connection:
        return connection.ask(*parts, method=method)


_MARKERS = (
    b"\r\nUpgrade: h2c\r\n",
    b"\r\nupgrade:h2c\r\nConnection: Upgrade\r\n",
    b"x\r\nUpgrade: h2c\r\ny" * 3,
    b"0\r\n\r\n",
    b"\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n",
    b"\n",
    b"{",
    b'{"pipeline_id": 999999}',
)
_OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nUpgrade: h2c\r\n"
_PATHS = (b"/pipeline", b"/start_pipeline_execution", b"/end_pipeline_execution", b"/nowhere", b"/pipeline_type")


class RequestMaker:
    """Random requests whose bodies look like heads, chunks and offers to upgrade."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311

    def request(self) -> bytes:
        """A whole request: never one that changes anything."""
        choose = self.random
        body = b"".join(
            choose.choice((*_MARKERS, choose.randbytes(choose.randrange(40)))) for _ in range(choose.randrange(8))
        )
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\n" % choose.choice(_PATHS)
        kind = choose.choice((b"application/json", b"application/x-www-form-urlencoded"))
        head += b"Content-Type: %s\r\n" % kind
        if choose.random() < 0.4:
            head += _OFFER
        if choose.random() < 0.5:
            return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)
        return b"%sTransfer-Encoding: chunked\r\n\r\n%s" % (head, self._chunked(body))

    def split(self, request: bytes) -> list[bytes]:
        """The request in random parts, often one."""
        borders = sorted(self.random.sample(range(len(request)), self.random.choice((0, 0, 1, 1, 2, 5))))
        return [request[a:b] for a, b in zip([0, *borders], [*borders, len(request)], strict=True) if a < b]

    def _chunked(self, body: bytes) -> bytes:
        chunks = b""
        while body:
            size = self.random.randrange(1, len(body) + 1)
            chunks += b"%x\r\n%s\r\n" % (size, body[:size])
            body = body[size:]
        return chunks + b"0\r\n\r\n"
