"""PostgreSQL servers on TCP ports of this machine: one, or a primary with its streaming replica."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.support.live import free_port, wait_until
from watcher_server.embedded.account import Account, engine_account
from watcher_server.embedded.binaries import postgres_binaries
from watcher_server.embedded.engine import Engine
from watcher_server.embedded.folders import private_folder

START_LIMIT_SECONDS = 60.0
SETTINGS = {
    "listen_addresses": "127.0.0.1,::1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # A server that comes back reads from here what it has missed.
    "wal_keep_size": "512MB",
    "timezone": "UTC",
}


class PostgresNode(Engine):
    """One server, which lets everybody in from this machine."""

    name = "PostgreSQL"
    folder = "postgres"
    stop_signals = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0))

    def __init__(self, home: Path, account: Account) -> None:
        super().__init__(home, account)
        self.port = free_port()
        self.data = self._data
        self._binaries = postgres_binaries(home, account)
        (home / "logs").mkdir(parents=True, exist_ok=True)
        private_folder(self.data, account)
        # Not among the data, all of which pg_rewind copies.
        self.sockets = private_folder(home / "sockets", account)

    @property
    def url(self) -> str:
        """The URL of its database ``postgres``."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def initialise(self) -> None:
        """Make an empty server's data."""
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self.run("initdb", f"--pgdata={self.data}", *options)
        # In the file, where the recovery that pg_rewind runs finds it too: it would drop what it then needs.
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())

    def copy(self, primary: "PostgresNode") -> None:
        """Make the data that of a replica of a running server."""
        source = ["--host=127.0.0.1", f"--port={primary.port}", "--username=postgres"]
        options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        self.run("pg_basebackup", f"--pgdata={self.data}", *source, *options)

    def rewind(self, primary: "PostgresNode") -> None:
        """Make the data of a server that was the primary that of a replica of its successor."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres dbname=postgres"
        options = ["--write-recovery-conf", "--no-sync"]
        self.run("pg_rewind", f"--target-pgdata={self.data}", f"--source-server={source}", *options)

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        command: Sequence[str | Path] = [self._binaries / "postgres", "-D", self.data, "-k", self.sockets]
        assert self._launch([*command, "-p", str(self.port)], START_LIMIT_SECONDS), self._last_lines(8)

    def kill(self) -> None:
        """End it at once, without a word to anybody, as when its machine fails."""
        assert self.pid is not None
        # Immediate shutdown ends every session without writing anything.
        os.kill(self.pid, signal.SIGQUIT)
        wait_until(lambda: self.pid is None, "the server's end")

    def promote(self) -> None:
        """Have a replica become the primary."""
        assert self.scalar("SELECT pg_promote()")

    def execute(self, *statements: str) -> None:
        """Run statements as a superuser, each by itself."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def scalar(self, statement: str) -> Any:
        """What a statement answers to a superuser."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement.encode()).fetchone()
            return row and row[0]

    def run(self, tool: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as the servers' account."""
        command: Sequence[str | Path] = [self._binaries / tool, *arguments]
        process = self._spawn(command, self.data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate()
        assert process.returncode == 0, output.decode()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


class PostgresPair:
    """Two servers: what one of them, the primary, has answered stands on both."""

    def __init__(self, home: Path, account: Account) -> None:
        self.nodes = [PostgresNode(home / name, account) for name in ("one", "two")]
        self.primary, self.replica = self.nodes
        self.primary.initialise()
        self.primary.start()
        self.replica.copy(self.primary)
        self._follow()

    @property
    def hosts(self) -> str:
        """Both, as they stand in a URL."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def fail_over(self) -> None:
        """Kill the primary and promote the replica, which takes its place."""
        self.primary.kill()
        self.replica.promote()
        self.primary, self.replica = self.replica, self.primary

    def bring_back(self) -> None:
        """Have the server that was killed follow the one that has its place."""
        self.primary.execute("CHECKPOINT")
        self.replica.rewind(self.primary)
        self._follow()

    def _follow(self) -> None:
        self.replica.start()
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
        wait_until(lambda: self.primary.scalar(synchronous) == 1, "the replica following", START_LIMIT_SECONDS)

    def stop(self) -> None:
        """Stop both, the replica first: a primary waits for it with what it has still to commit."""
        for node in (self.replica, self.primary):
            node.stop()


@contextmanager
def _home() -> Iterator[Path]:
    # The servers run as another user, who may not enter pytest's temporary folders.
    home = Path(tempfile.mkdtemp(prefix="watcher-postgres-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def postgres_node() -> Iterator[PostgresNode]:
    """One server that has been initialised, and not started, for as long as the block lasts."""
    with _home() as home:
        node = PostgresNode(home / "one", engine_account())
        node.initialise()
        try:
            yield node
        finally:
            node.stop()


@contextmanager
def postgres_pair() -> Iterator[PostgresPair]:
    """A primary and its synchronous replica, both running."""
    with _home() as home:
        pair = PostgresPair(home, engine_account())
        try:
            yield pair
        finally:
            pair.stop()
