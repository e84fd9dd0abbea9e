"""The HTTP port of a worker: its metrics, and whether it lives and works.

One thread runs an event loop of uvicorn's. A connection takes no thread and is closed after its one answer, or when it
has lasted too long: a client that sends slowly, reads slowly or says nothing keeps no other from its answer.
"""

import asyncio
import errno
import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import uvicorn
from prometheus_client import make_asgi_app
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from watcher_server.http.ticks import headers_now, wait_to_be_told
from watcher_server.tasking.workers.counters import REGISTRY

logger = logging.getLogger(__name__)

_FURTHER_PORTS = 20
_LONGEST_CONNECTION_SECONDS = 10
_MOST_CONNECTIONS = 256


class WorkerServer:
    """Answers ``/metrics``, ``/health/live`` and ``/health/ready`` from a thread.

    Port 0 is no server at all; when the port is taken, it is the next free one of the following 20. ``is_alive`` says
    whether the worker's main loop turns, ``is_ready`` why the worker cannot run tasks, or None when it can.
    """

    def __init__(self, host: str, port: int, is_alive: Callable[[], bool], is_ready: Callable[[], str | None]) -> None:
        self._host = host
        self._port = port
        self._is_alive = is_alive
        self._is_ready = is_ready
        wait_to_be_told()
        self._metrics = make_asgi_app(REGISTRY)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._answer,
                http=_ShortConnection,
                interface="asgi3",
                loop="asyncio",
                lifespan="off",
                headers=[("connection", "close")],
                server_header=False,
                proxy_headers=False,
                access_log=False,
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread: threading.Thread | None = None

    def start(self) -> str | None:
        """Begin to answer; the address at which others reach it, None when the port is off or none can be had."""
        listening = self._listen() if self._port else None
        if listening is None:
            return None
        _listening.add(listening)
        serve = self._server.serve([listening])
        self._thread = threading.Thread(target=asyncio.run, args=[serve], name="worker-port", daemon=True)
        self._thread.start()
        return f"http://{_url_host(self._host)}:{listening.getsockname()[1]}"

    def stop_soon(self) -> None:
        """Begin to stop, and do not wait."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Stop answering and give the port back."""
        if self._thread is not None:
            self.stop_soon()
            self._thread.join()
            self._thread = None

    def _listen(self) -> socket.socket | None:
        for port in range(self._port, min(self._port + _FURTHER_PORTS, 65535) + 1):
            try:
                found = socket.getaddrinfo(self._host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
                family, _, _, _, address = found[0]
                return socket.create_server((str(address[0]), port), family=family, backlog=_MOST_CONNECTIONS)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    logger.warning(
                        "No metrics and no health of this worker: nothing can listen on %s, port %d (%s); set "
                        "WATCHER_WORKER_METRICS_HOST to an address of this machine and WATCHER_WORKER_METRICS_PORT to "
                        "1024 or more.",
                        *(self._host, port, error.strerror),
                    )
                    return None
        logger.warning(
            "No metrics and no health of this worker: the ports %d to %d of %s are all taken; "
            "set WATCHER_WORKER_METRICS_PORT.",
            *(self._port, self._port + _FURTHER_PORTS, self._host),
        )
        return None

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/metrics":
            await self._metrics(scope, receive, send)
        elif scope["path"] == "/health/live":
            reason = None if self._is_alive() else "The worker's main loop stands still: restart the worker."
            await _health("ok", reason)(scope, receive, send)
        elif scope["path"] == "/health/ready":
            await _health("ready", self._is_ready())(scope, receive, send)
        else:
            detail = "There are /metrics, /health/live and /health/ready here."
            await JSONResponse({"detail": detail}, 404)(scope, receive, send)


def _health(status: str, reason: str | None) -> JSONResponse:
    return JSONResponse({"status": status}) if reason is None else JSONResponse({"detail": reason}, 503)


class _ShortConnection(H11Protocol):
    """A connection that is cut off when it has lasted too long, or when it is the oldest of too many."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's signature
        # It is closed after one answer, which has this date.
        self.server_state.default_headers = headers_now(self.config)
        super().connection_made(transport)
        self.deadline = self.loop.call_later(_LONGEST_CONNECTION_SECONDS, transport.abort)
        if len(self.connections) > _MOST_CONNECTIONS:
            oldest: Any = min(self.connections, key=lambda one: one.deadline.when())  # type: ignore[union-attr]
            # At once, not only when its end is reported: the next new connection must find another oldest one.
            self.connections.discard(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline.cancel()
        super().connection_lost(exc)


def _url_host(host: str) -> str:
    """The host by which others reach what listens there: for every address of the machine, its main one."""
    reachable = _main_address() if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 - compared, not listened on
    return f"[{reachable}]" if ":" in reachable else reachable


def _main_address() -> str:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # An address for documentation (RFC 5737). To look up a route to it sends nothing.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


_listening: "WeakSet[socket.socket]" = WeakSet()


def _close_in_child() -> None:
    # A process of the pool is a fork. With the socket it would keep the port after the worker's end and take
    # connections that it never answers.
    for listening in list(_listening):
        listening.close()


os.register_at_fork(after_in_child=_close_in_child)
