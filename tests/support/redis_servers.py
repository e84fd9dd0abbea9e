"""Debian's Redis and its Sentinels as processes of a test, on loopback and with what a company gives them."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.deploy.tools import ROOT, find_program
from tests.support.certificates import Pair
from tests.support.live import free_port, wait_until

MASTER = "orders"
_LIBRARIES = ROOT / ".venv-debian" / "usr" / "lib" / "x86_64-linux-gnu"
# The name in the tests' certificate. Sentinels tell it to others instead of the address.
HOST = "localhost"


class RedisServer:
    """One server, or one Sentinel. It can be killed and started again with its files."""

    def __init__(self, folder: Path, lines: Sequence[str], *, sentinel: bool = False, tls: Pair | None = None) -> None:
        self.port = free_port()
        self._folder = folder
        self._tls = tls
        self._sentinel = sentinel
        folder.mkdir(parents=True)
        encrypted = (
            []
            if tls is None
            else [
                *(f"tls-port {self.port}", f"tls-cert-file {tls.certificate}", f"tls-key-file {tls.key}"),
                *(f"tls-ca-cert-file {tls.certificate}", "tls-auth-clients no", "tls-replication yes"),
            ]
        )
        own = [f"port {0 if tls else self.port}", f"dir {folder}", "bind 127.0.0.1 -::1"]
        (folder / "redis.conf").write_text("\n".join([*own, *encrypted, *lines, ""]))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it wrote to its output."""
        return self._folder / "output"

    def start(self) -> None:
        """Start it, and wait until it answers anything at all."""
        program = find_program("redis-server", ".venv-debian/usr/bin", "run tests/debian-packages.sh")
        command = [program, str(self._folder / "redis.conf"), *(["--sentinel"] if self._sentinel else [])]
        path = os.environ | {"LD_LIBRARY_PATH": str(_LIBRARIES)}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, env=path, stdout=output, stderr=subprocess.STDOUT)
        wait_until(self._answers, f"the start of Redis ({self.log})")

    def kill(self) -> None:
        """Kill it, as when its machine fails."""
        if self._process is not None:
            # It may be suspended.
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    def suspend(self) -> None:
        """Suspend it, as when its machine hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def client(self, **options: Any) -> "redis.Redis":
        """A client of it, to close by the caller."""
        encrypted: dict[str, Any] = {}
        if self._tls is not None:
            files = {"ssl_certfile": str(self._tls.certificate), "ssl_keyfile": str(self._tls.key)}
            encrypted = {"ssl": True, "ssl_ca_certs": str(self._tls.certificate), **files}
        return redis.Redis(host=HOST, port=self.port, socket_timeout=5, **encrypted, **options)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


@contextmanager
def redis_server(folder: Path, *lines: str, tls: Pair | None = None) -> Iterator[RedisServer]:
    """A server with these lines of configuration, without anything on disk, until the block ends."""
    server = RedisServer(folder, ["save ''", *lines], tls=tls)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class SentinelGroup:
    """A primary, a replica, and three Sentinels that know the primary as ``MASTER``."""

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer], password: str) -> None:
        self.servers = servers
        self.sentinels = sentinels
        self._password = password or None

    @property
    def hosts(self) -> str:
        """The Sentinels as they stand in a URL."""
        return ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)

    @property
    def primaries(self) -> list[RedisServer]:
        """The servers that take writes now, by their own word."""
        return [server for server in self.servers if self._role(server) == "master"]

    @property
    def primary(self) -> RedisServer:
        """The only one of them."""
        (primary,) = self.primaries
        return primary

    def wait_until_whole(self) -> None:
        """Wait until the replica follows the primary, and each Sentinel knows both and the other Sentinels."""
        wait_until(self._is_whole, "a whole group of Sentinels", 60)

    def _role(self, server: RedisServer) -> str:
        try:
            with server.client() as client:
                return str(client.info("replication")["role"])
        except redis.RedisError:
            return "away"

    def _is_whole(self) -> bool:
        if sorted(self._role(server) for server in self.servers) != ["master", "slave"]:
            return False
        with self.primary.client() as client:
            if client.info("replication")["connected_slaves"] != 1:
                return False
        return all(self._is_informed(sentinel) for sentinel in self.sentinels)

    def _is_informed(self, sentinel: RedisServer) -> bool:
        with sentinel.client(password=self._password) as client:
            about = client.sentinel_masters()[MASTER]
        return bool(about["num-slaves"] == 1 and about["num-other-sentinels"] == len(self.sentinels) - 1)


@contextmanager
def sentinel_group(folder: Path, *lines: str, tls: Pair | None = None, password: str = "") -> Iterator[SentinelGroup]:
    """Such a group until the block ends. ``lines`` are of both servers; the Sentinels ask for ``password``, if any."""
    asks = [f"requirepass {password}", f"sentinel sentinel-pass {password}"] if password else []
    named = [f"replica-announce-ip {HOST}", *lines]
    with ExitStack() as stack:

        def started(server: RedisServer) -> RedisServer:
            stack.callback(server.kill)
            server.start()
            return server

        primary = started(RedisServer(folder / "one", ["save ''", *named], tls=tls))
        follows = f"replicaof {HOST} {primary.port}"
        replica = started(RedisServer(folder / "two", ["save ''", *named, follows], tls=tls))
        about = [
            *("sentinel resolve-hostnames yes", "sentinel announce-hostnames yes"),
            f"sentinel monitor {MASTER} {HOST} {primary.port} 2",
            f"sentinel down-after-milliseconds {MASTER} 2000",
            f"sentinel failover-timeout {MASTER} 10000",
            f"sentinel announce-ip {HOST}",
            *asks,
        ]
        sentinels = [
            started(RedisServer(folder / f"sentinel-{number}", about, sentinel=True, tls=tls)) for number in range(3)
        ]
        group = SentinelGroup([primary, replica], sentinels, password)
        group.wait_until_whole()
        yield group
