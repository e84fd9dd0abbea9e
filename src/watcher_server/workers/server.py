"""The HTTP port of a worker: its metrics, and whether it lives and works."""

import errno
import json
import logging
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

from prometheus_client.exposition import choose_encoder

from watcher_server.workers.counters import REGISTRY

logger = logging.getLogger(__name__)

_FURTHER_PORTS = 20
# Whoever connects and says nothing is hung up on.
_SILENCE_SECONDS = 5
_STANDS_STILL = "The worker's main loop stands still: restart the worker."
# An address for documentation (RFC 5737): to look up a route to it sends nothing.
_ELSEWHERE = ("192.0.2.1", 9)

Answer = tuple[int, str, bytes]


class WorkerServer:
    """Answers ``/metrics``, ``/health/live`` and ``/health/ready`` from a thread.

    Args:
        host: the address to listen on.
        port: the port; 0 is no server at all. When it is taken, the next free one of the following 20.
        is_alive: whether the worker's main loop turns.
        is_ready: why the worker cannot run tasks, or None when it can.
    """

    def __init__(self, host: str, port: int, is_alive: Callable[[], bool], is_ready: Callable[[], str | None]) -> None:
        self._host = host
        self._port = port
        self._is_alive = is_alive
        self._is_ready = is_ready
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> str | None:
        """Begin to answer; the address at which others reach it, None when the port is off or none can be had."""
        if self._port == 0:
            return None
        self._server = self._listen()
        if self._server is None:
            return None
        self._thread = threading.Thread(target=self._server.serve_forever, name="worker-port", daemon=True)
        self._thread.start()
        return f"http://{_url_host(self._host)}:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Stop answering and give the port back."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None

    def _listen(self) -> "_Server | None":
        for port in range(self._port, min(self._port + _FURTHER_PORTS, 65535) + 1):
            try:
                return _Server(self._host, port, self._answer)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    logger.warning("%s", _why_not_listening(self._host, port, error))
                    return None
        logger.warning(
            "No metrics and no health of this worker: the ports %d to %d of %s are all taken; "
            "set WATCHER_WORKER_METRICS_PORT.",
            *(self._port, self._port + _FURTHER_PORTS, self._host),
        )
        return None

    def _answer(self, path: str, accept: str | None) -> Answer:
        if path == "/metrics":
            encode, content_type = choose_encoder(accept or "")
            return 200, content_type, encode(REGISTRY)
        if path == "/health/live":
            return _health("ok", None if self._is_alive() else _STANDS_STILL)
        if path == "/health/ready":
            return _health("ready", self._is_ready())
        return _json(404, {"detail": "There are /metrics, /health/live and /health/ready here."})


def _health(status: str, reason: str | None) -> Answer:
    return _json(200, {"status": status}) if reason is None else _json(503, {"detail": reason})


def _json(status: int, body: dict[str, str]) -> Answer:
    return status, "application/json", json.dumps(body).encode()


def _why_not_listening(host: str, port: int, error: OSError) -> str:
    return (
        f"No metrics and no health of this worker: nothing can listen on {host}, port {port} ({error.strerror}); "
        "set WATCHER_WORKER_METRICS_HOST to an address of this machine and WATCHER_WORKER_METRICS_PORT to 1024 or more."
    )


def _url_host(host: str) -> str:
    """The host by which others reach what listens there: for every address of the machine, its main one."""
    reachable = _main_address() if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 - compared, not listened on
    return f"[{reachable}]" if ":" in reachable else reachable


def _main_address() -> str:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_ELSEWHERE)
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    timeout = _SILENCE_SECONDS

    def do_GET(self) -> None:
        status, content_type, body = self.server.answer(urlsplit(self.path).path, self.headers.get("Accept"))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Say nothing: a line per scrape would hide what the log is for."""


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, answer: Callable[[str, str | None], Answer]) -> None:
        self.answer = answer
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        super().__init__((str(address[0]), port), _Handler)
        _listening.add(self)

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """To the log, not to standard error; that somebody hung up, only for whoever debugs."""
        level = logging.DEBUG if isinstance(sys.exception(), OSError) else logging.ERROR
        logger.log(level, "A request from %s was not answered.", client_address, exc_info=True)


_listening: "WeakSet[_Server]" = WeakSet()


def _close_in_child() -> None:
    # A process of the pool is a fork that lives on: with the socket, it would keep the port when the worker ends,
    # and take connections that it never answers.
    for server in list(_listening):
        server.socket.close()


os.register_at_fork(after_in_child=_close_in_child)
