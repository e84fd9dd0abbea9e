"""The embedded PostgreSQL: a foreground child on a Unix socket, never on the network."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psycopg

from watcher_server.embedded.account import Account
from watcher_server.embedded.binaries import POSTGRES_MAJOR, postgres_binaries
from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.folders import private_folder, socket_folder
from watcher_server.embedded.process import (
    command_line,
    end_leftover,
    engine_environment,
    last_lines,
    open_log,
    start_engine,
    stop_child,
)

DATABASE_NAME = "watcher"
SUPERUSER = "postgres"
# Replaying the write-ahead log after a power cut may take minutes on a slow disk.
START_LIMIT_SECONDS = 300
_SOCKET_NAME = ".s.PGSQL.5432"
_STOP_SIGNALS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0))
_START_ATTEMPTS = 3

# For a small machine that also runs everything else; durability (fsync, synchronous_commit) stays on.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """One PostgreSQL server on ``WATCHER_HOME/postgres``."""

    name = "PostgreSQL"

    def __init__(self, home: Path, account: Account) -> None:
        self._home = home
        self._account = account
        self._data = home / "postgres"
        self.log = home / "logs" / "postgres.log"
        self._sockets = self._data
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The ``postgresql://`` URL of Watcher's database on this server."""
        return self._url(DATABASE_NAME)

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, else None."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def start(self) -> None:
        """Create the data folder if there is none, start the server, and wait until it takes connections.

        Raises:
            EmbeddedError: another major version's data, or the server did not start.
        """
        self._refuse_other_version()
        binaries = postgres_binaries(self._home, self._account)
        private_folder(self._data, self._account)
        self._sockets = socket_folder(self._data, _SOCKET_NAME, self._account)
        self._end_leftover()
        if not (self._data / "PG_VERSION").exists():
            self._initialise(binaries)
        for attempt in range(_START_ATTEMPTS):
            if self._start_once(binaries):
                break
            # Backends of a killed server take a moment to notice and to let go of its shared memory.
            if attempt + 1 == _START_ATTEMPTS or "in use" not in last_lines(self.log, 6):
                raise EmbeddedError(f"PostgreSQL did not start: read {self.log} ({last_lines(self.log)}).")
            time.sleep(1)
        self._create_database()

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, what was committed is on disk."""
        if self._child is not None:
            stop_child(self._child, _STOP_SIGNALS)

    def _refuse_other_version(self) -> None:
        version_file = self._data / "PG_VERSION"
        if not version_file.exists():
            return
        version = version_file.read_text().strip()
        if version != str(POSTGRES_MAJOR):
            raise EmbeddedError(
                f"The data in {self._data} belongs to PostgreSQL {version} and this Watcher brings "
                f"PostgreSQL {POSTGRES_MAJOR}: move it over with pg_dump and pg_restore, "
                "or set WATCHER_HOME to a new folder."
            )

    def _initialise(self, binaries: Path) -> None:
        # initdb only takes an empty folder, and leaves it half filled when it is killed.
        fresh = self._home / "postgres.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        private_folder(fresh, self._account)
        command: list[str | Path] = [binaries / "initdb", "--pgdata", fresh, "--username", SUPERUSER]
        # The folder of the socket is private, so the file system says who may connect.
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        switch = self._account.switches
        # S603: our own binary and arguments.
        made = subprocess.run(
            [str(part) for part in command],
            cwd=fresh,
            capture_output=True,
            text=True,
            check=False,
            env=engine_environment(),
            start_new_session=True,
            user=self._account.uid if switch else None,
            group=self._account.gid if switch else None,
            extra_groups=[] if switch else None,
        )
        if made.returncode != 0:
            raise EmbeddedError(f"The database in {self._data} could not be created: {made.stderr.strip()}")
        try:
            fresh.replace(self._data)
        except OSError as error:
            raise EmbeddedError(
                f"{self._data} is no database and not empty: move what is in it elsewhere ({error.strerror})."
            ) from error

    def _start_once(self, binaries: Path) -> bool:
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with open_log(self.log) as log:
            self._child = start_engine(
                [binaries / "postgres", "-D", self._data, "-k", self._sockets, "-p", "5432", *options],
                self._account,
                cwd=self._data,
                log=log,
                parent_signal=signal.SIGINT,
            )
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while self._child.poll() is None and time.monotonic() < deadline:
            if self._accepts_connections():
                return True
            time.sleep(0.03)
        self.stop()
        return False

    def _accepts_connections(self) -> bool:
        try:
            psycopg.connect(self._url(SUPERUSER), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _create_database(self) -> None:
        with psycopg.connect(self._url(SUPERUSER), autocommit=True, connect_timeout=5) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE_NAME]).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE_NAME}")

    def _end_leftover(self) -> None:
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        first_line, _, others = pid_file.read_text().partition("\n")
        pid = int(first_line) if first_line.strip().isdigit() else 0
        ended = end_leftover(pid, f"-D {self._data} ", _STOP_SIGNALS)
        if ended or "postgres" not in command_line(pid):
            # PostgreSQL takes any process of that id for a server on its data, also another program that got
            # the id since, or a dead server that nobody waited for; its own parent's id it does not. The other
            # lines stay: by them it sees whether the dead server's sessions still hold the data.
            pid_file.write_text(f"{os.getpid()}\n{others}")
            (self._sockets / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _url(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self._sockets), safe='/')}"
