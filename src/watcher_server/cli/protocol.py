"""HTTP/1.1 as the api speaks it: uvicorn's protocol with limits, and deaf to offers of other protocols."""

import asyncio
import json
import re
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from watcher_server.cli.connections import connection_book
from watcher_server.cli.http_cycle import PlainCycle
from watcher_server.http.ticks import headers_now

HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
# In this time a client takes 64 KiB of an answer, or the rest of it. Linux passes it on in steps of up to megabytes.
ANSWER_SECONDS = 60.0
_LEAST_TAKEN_BYTES = 64 * 1024
MAX_HEAD_BYTES = 32 * 1024
_MAX_HEADERS = 100
# Requests that wait on one connection for the answer to an earlier one.
_MAX_PIPELINED = 100
# How long a client that is refused has to ask, and to read why.
_CLOSING_SECONDS = 2.0


class _Phase(Enum):
    """Which part of a request the connection waits for."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class PlainHttpProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which ignores ``Upgrade``, limits the head of a request, and gives up on slow clients.

    Java's HTTP client offers ``Upgrade: h2c`` by default. A server may ignore the offer (RFC 9110, 7.8), but the parser
    takes it for the end of HTTP on this connection and skips the body. A head with an offer is therefore parsed a
    second time, written anew from its parsed parts without the header ``Upgrade``. Bytes that are not parsed yet are
    never changed.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and wait for the first head."""
        super().connection_made(transport)
        self._since = 0.0
        self._await(_Phase.HEAD)
        self._running: RequestResponseCycle | None = None
        self._refusal: bytes | None = None
        self._closes_at: float | None = None
        self._untaken_bytes = 0
        self._taken_at = self._since
        self._book = connection_book(self.config)
        if not self._book.admit(self, self.client[0] if self.client else None):
            # Sent when the request comes: the client often loses what arrives before that.
            self._refusal = _error(503, "There are too many connections; try again in a moment.", retry=True)
            self._closes_at = self._since + _CLOSING_SECONDS
            if self._book.is_flooded:
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no longer, and tell the answer under way."""
        self._book.release(self)
        if self._running is not None and not self._running.response_complete:
            # Uvicorn tells only the last request of several that are pipelined.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse what is not HTTP, and heads that are too long."""
        self._unset_keepalive_if_required()
        if len(data) <= MAX_HEAD_BYTES:
            self._take(data)
        else:
            rest = memoryview(data)
            while rest:
                part, rest = rest[:MAX_HEAD_BYTES], rest[MAX_HEAD_BYTES:]
                self._take(part)
        if self._refusal is not None and not self._is_answering():
            self._close()

    def _take(self, part: bytes | memoryview) -> None:
        if self._refusal is not None:
            return
        if self._phase is _Phase.NOTHING:
            self._await(_Phase.HEAD)
        self._head_bytes += len(part)
        try:
            self._parse(part)
        except httptools.HttpParserError:
            self._refuse(400, "Invalid HTTP request received.")
        else:
            if self._phase is _Phase.HEAD and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"The head of a request may have {MAX_HEAD_BYTES} bytes.")

    def _parse(self, data: bytes | memoryview) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                head = self._head_without_offer()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
            else:
                return

    def _head_without_offer(self) -> bytes:
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is for proxies.")
        lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """Begin a request, which may be pipelined behind another."""
        if self._phase is _Phase.NOTHING:
            self._await(_Phase.HEAD)
        super().on_message_begin()
        # A proxy that is believed may name another client; who is trusted to name people is this end.
        self.scope["watcher_peer"] = self.client[0] if self.client else None  # type: ignore[typeddict-unknown-key]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, but no trailer: proxies check only the head, and some hand on trailers."""
        if self._phase is _Phase.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the head is to be parsed again."""
        if self.parser.should_upgrade():
            return
        if len(self.headers) > _MAX_HEADERS or len(self.pipeline) >= _MAX_PIPELINED:
            raise httptools.HttpParserError("There are too many headers, or requests at once.")
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"} or not self._names_one_host():
            raise httptools.HttpParserError("The version is unknown, or the host in doubt.")
        # May refuse the target, while there is no request yet to answer.
        self._describe(version)
        self._begin_cycle(
            PlainCycle(
                scope=self.scope,
                transport=self.transport,
                flow=self.flow,
                logger=self.logger,
                access_logger=self.access_logger,
                access_log=self.access_log,
                default_headers=headers_now(self.config),
                message_event=asyncio.Event(),
                expect_100_continue=self.expect_100_continue,
                keep_alive=version != "1.0" and self.parser.should_keep_alive(),
                on_response=self.on_response_complete,
            )
        )
        self._await(_Phase.BODY)

    def _describe(self, version: str) -> None:
        """Put the first line of the request into its scope, as uvicorn does."""
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        self.scope["raw_path"] = self.root_path.encode("ascii") + url.path
        self.scope["query_string"] = url.query or b""

    def _begin_cycle(self, cycle: PlainCycle) -> None:
        before, self.cycle = self.cycle, cycle
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _names_one_host(self) -> bool:
        """Whether no two parts of the head can name different hosts: a proxy might go by the other one."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if self.url.startswith((b"/", b"*")):
            return len(hosts) <= 1
        # The absolute form, as it is sent to proxies.
        authority = re.split(rb"[/?#]", self.url.partition(b"://")[2], maxsplit=1)[0]
        return [host.lower() for host in hosts] == [authority.lower()]

    def on_message_complete(self) -> None:
        """Wait for the next request."""
        if self.parser.should_upgrade():
            return
        self._phase = _Phase.NOTHING
        super().on_message_complete()
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:
            # The body ended after the answer to it, and its bytes have stopped the timer that uvicorn set there.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Answer the next request, or close when the client is refused."""
        super().on_response_complete()
        if self._refusal is not None and not self._is_answering():
            self._close()

    def check_deadline(self, now: float) -> None:
        """Close the connection when its client is too slow."""
        if self._leaves_answer(now):
            self.transport.abort()
        elif self._closes_at is not None:
            if now > self._closes_at:
                self.transport.abort()
        elif self._refusal is None and self._phase is _Phase.HEAD and now > self._since + HEAD_SECONDS:
            if self._head_bytes:
                self._refuse(408, f"The head of a request may take {HEAD_SECONDS:.0f} seconds.")
            else:
                # Browsers open connections that they may never use, and would take this for an answer.
                self.transport.close()
        elif self._refusal is None and self._phase is _Phase.BODY and now > self._since + BODY_SECONDS:
            if self.flow.read_paused:
                # The client waits for the server: for the answer to an earlier request, or to be read from.
                self._since = now
            else:
                self._refuse(408, f"The body of a request may take {BODY_SECONDS:.0f} seconds.")

    def _leaves_answer(self, now: float) -> bool:
        """Whether the client has long taken too little of its answer, all of which stays in memory until it does."""
        untaken = self.transport.get_write_buffer_size()
        if not untaken or not self._untaken_bytes or untaken <= self._untaken_bytes - _LEAST_TAKEN_BYTES:
            self._untaken_bytes, self._taken_at = untaken, now
        return now > self._taken_at + ANSWER_SECONDS

    def resume_writing(self) -> None:
        """Send more of an answer: the client has taken nearly all that waited."""
        self._untaken_bytes = 0
        super().resume_writing()

    def shutdown(self) -> None:
        """Stop after the answer under way, and tell answers without an end, such as event streams, to stop."""
        self.app_state["stopping"].set()
        super().shutdown()

    def _await(self, phase: _Phase) -> None:
        self._phase = phase
        self._since = self.loop.time()
        self._head_bytes = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _refuse(self, status: int, message: str) -> None:
        """Refuse the request that is being received: after the answers to earlier ones, the connection closes."""
        self._refusal = _error(status, message)
        if self._phase is _Phase.BODY:
            if self._running is self.cycle:
                # Its answer, if it has begun already, cannot be turned into this one.
                self._refusal = b"" if self.cycle.response_started else self._refusal
                self._close()
                return
            self.pipeline.popleft()
        if not self._is_answering():
            self._close()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self._refusal or b"")
            self.transport.close()
            self._closes_at = self.loop.time() + _CLOSING_SECONDS


def _error(status: int, message: str, *, retry: bool = False) -> bytes:
    body = json.dumps({"detail": message}).encode()
    lines = [
        STATUS_LINE[status].rstrip(),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
    ]
    return b"\r\n".join([*lines, *([b"retry-after: 1"] if retry else []), b"", body])
