"""How many connections an api process holds, and how long each may take over the head and the body of a request."""

import asyncio
import resource
from collections import Counter
from contextlib import suppress
from functools import cache
from typing import Protocol

from uvicorn import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from watcher_server.auth.network import is_loopback, network_of
from watcher_server.settings import get_settings

CHECK_SECONDS = 1.0
# Files that the process needs besides connections of clients: the database, the broker, the log, static files.
_OTHER_FILES = 128


class Connection(Protocol):
    """What the book knows of a connection."""

    def check_deadline(self, now: float) -> None:
        """Close the connection if its client has been too slow."""


class ConnectionBook:
    """Counts connections, in all and per client address, and has each check its deadline once a second.

    A proxy whose forwarded headers are trusted, and everything on this machine, counts towards the total only.
    """

    def __init__(self, most: int, most_per_address: int, proxies: ProxyHeadersMiddleware) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._proxies = proxies.trusted_hosts
        self._keys: dict[Connection, str | None] = {}
        self._per_key: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def admit(self, connection: Connection, address: str | None) -> bool:
        """Whether the connection may be served; it is counted until it is released, also when it may not."""
        key = self._key(address)
        self._keys[connection] = key
        if key is not None:
            self._per_key[key] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)
        return len(self._keys) <= self._most and (key is None or self._per_key[key] <= self._most_per_address)

    @property
    def is_flooded(self) -> bool:
        """Whether there are too many refused connections to answer each."""
        return len(self._keys) > self._most + _OTHER_FILES // 2

    def release(self, connection: Connection) -> None:
        """Count a connection no longer."""
        key = self._keys.pop(connection, None)
        if key is not None:
            self._per_key[key] -= 1
            if not self._per_key[key]:
                del self._per_key[key]

    def _key(self, address: str | None) -> str | None:
        if address is None or is_loopback(address):
            return None
        network = network_of(address)
        return None if address in self._proxies or network in self._proxies else network

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in list(self._keys):
            connection.check_deadline(loop.time())
        self._timer = loop.call_later(CHECK_SECONDS, self._check) if self._keys else None


@cache
def connection_book(config: Config) -> ConnectionBook:
    """The book of the server with that configuration."""
    settings = get_settings()
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(settings.max_connections, max(files - _OTHER_FILES, 1))
    proxies = ProxyHeadersMiddleware(config.loaded_app, config.forwarded_allow_ips or "")
    return ConnectionBook(most, settings.max_connections_per_address, proxies)


def raise_file_limit() -> None:
    """Let this process and its children open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems name a hard limit that they do not grant; the connections then keep to the soft one.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
