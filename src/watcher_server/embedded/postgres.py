"""The embedded PostgreSQL: a foreground child on a Unix socket, never on the network."""

import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg

from watcher_server.embedded.account import command_with_a_name, has_name
from watcher_server.embedded.binaries import POSTGRES_MAJOR, postgres_binaries
from watcher_server.embedded.engine import Engine
from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.folders import private_folder, socket_folder
from watcher_server.embedded.process import command_line, end_leftover

DATABASE_NAME = "watcher"
SUPERUSER = "postgres"
# Replaying the write-ahead log after a power cut may take minutes on a slow disk.
START_LIMIT_SECONDS = 300
_SOCKET_NAME = ".s.PGSQL.5432"

# For a small machine that runs Watcher too. Durability (fsync, synchronous_commit) stays on.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    # What it reads is mostly in the cache of the system: processes of its own for reading would only take CPU.
    "io_method": "sync",
    # There is no replication.
    "max_logical_replication_workers": "0",
    "log_checkpoints": "off",
}


class EmbeddedPostgres(Engine):
    """One PostgreSQL server on ``WATCHER_HOME/postgres``."""

    name = "PostgreSQL"
    folder = "postgres"
    # A fast shutdown ends the sessions; what was committed is on disk.
    stop_signals = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0))

    @property
    def url(self) -> str:
        """The ``postgresql://`` URL of Watcher's database on this server."""
        return self._url(DATABASE_NAME)

    def start(self) -> None:
        """Create the data folder if there is none, start the server, and wait until it takes connections.

        Raises EmbeddedError for another major version's data, or if the server did not start.
        """
        self._refuse_other_version()
        binaries = postgres_binaries(self._home, self._account)
        private_folder(self._data, self._account)
        self._sockets = socket_folder(self._data, _SOCKET_NAME, self._account)
        self._end_leftover()
        if not (self._data / "PG_VERSION").exists():
            self._initialise(binaries)
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [binaries / "postgres", "-D", self._data, "-k", self._sockets, "-p", "5432"]
        for is_last_attempt in (False, False, True):
            if self._launch([*command, *options], START_LIMIT_SECONDS):
                break
            # The backends of a killed server release its shared memory a moment later.
            if is_last_attempt or "in use" not in self._last_lines(6):
                raise EmbeddedError(f"PostgreSQL did not start: read {self.log} ({self._last_lines()}).")
            time.sleep(1)
        with psycopg.connect(self._url(SUPERUSER), autocommit=True, connect_timeout=5) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE_NAME]).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE_NAME}")

    def prepare_stop(self) -> None:
        """Begin to write the changed pages to the files, which a stop has to do."""
        threading.Thread(target=self._checkpoint, name="checkpoint", daemon=True).start()

    def _checkpoint(self) -> None:
        # The stop may cut it short, and then does the rest.
        with suppress(psycopg.Error), psycopg.connect(self._url(SUPERUSER), autocommit=True, connect_timeout=5) as last:
            last.execute("CHECKPOINT")

    def _refuse_other_version(self) -> None:
        version_file = self._data / "PG_VERSION"
        if not version_file.exists():
            return
        version = version_file.read_text().strip()
        if version != str(POSTGRES_MAJOR):
            raise EmbeddedError(
                f"The data in {self._data} belongs to PostgreSQL {version} and this Watcher brings "
                f"PostgreSQL {POSTGRES_MAJOR}: run `watcher backup FILE` with the version of Watcher that made it, "
                "set WATCHER_HOME to a new folder, and run `watcher restore FILE` with this one."
            )

    def _initialise(self, binaries: Path) -> None:
        # initdb needs an empty folder, and leaves it half filled if it is killed.
        fresh = self._home / "postgres.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        private_folder(fresh, self._account)
        command: list[str | Path] = [binaries / "initdb", "--pgdata", fresh, "--username", SUPERUSER]
        # The folder of the socket is private, so the file system decides who may connect.
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        made = self._spawn(
            command_with_a_name(command, self._account), fresh, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, errors = made.communicate()
        if made.returncode != 0 and not has_name(self._account):
            raise EmbeddedError(
                f"PostgreSQL needs a name for the user id {self._account.uid}, which has none here: run Watcher "
                "as a user with an account, or set WATCHER_DATABASE_URL."
            )
        if made.returncode != 0:
            reason = errors.decode(errors="replace").strip()
            raise EmbeddedError(f"The database in {self._data} could not be created: {reason}")
        try:
            fresh.replace(self._data)
        except OSError as error:
            raise EmbeddedError(
                f"{self._data} is no database and not empty: move what is in it elsewhere ({error.strerror})."
            ) from error

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._url(SUPERUSER), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end_leftover(self) -> None:
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        first_line, _, others = pid_file.read_text().partition("\n")
        pid = int(first_line) if first_line.strip().isdigit() else 0
        ended = end_leftover(pid, f"-D {self._data} ", self.stop_signals)
        if ended or "postgres" not in command_line(pid):
            # PostgreSQL refuses to start while any process has the id in this file, even if another program got the
            # id since. Only the id of its own parent does not stop it. It needs the other lines to see whether the
            # sessions of the dead server still use the data.
            self._replace(pid_file, f"{os.getpid()}\n{others}")
            (self._sockets / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _replace(self, path: Path, content: str) -> None:
        """Write a file of the engines' account anew: root must not write through a link that the account made."""
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
        self._account.own(path)

    def _url(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self._sockets), safe='/')}"
