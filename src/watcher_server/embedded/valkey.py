"""The embedded Valkey: the broker, a foreground child on a Unix socket, never on the network."""

import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from watcher_server.embedded.account import Account
from watcher_server.embedded.binaries import valkey_binary
from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.folders import private_folder, socket_folder
from watcher_server.embedded.process import end_leftover, last_lines, open_log, start_engine, stop_child

# A long append-only file is loaded before the first command is answered.
START_LIMIT_SECONDS = 120
_SOCKET_NAME = "valkey.sock"
_STOP_SIGNALS = ((signal.SIGTERM, 10.0),)

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    # The append-only file is the copy on disk; snapshots beside it would only cost input and output.
    "save": "",
    # A broker that silently drops messages when it is full would lose work.
    "maxmemory-policy": "noeviction",
    "always-show-logo": "no",
}


class EmbeddedValkey:
    """One Valkey server on ``WATCHER_HOME/valkey``."""

    name = "Valkey"

    def __init__(self, home: Path, account: Account) -> None:
        self._home = home
        self._account = account
        self._data = home / "valkey"
        self.log = home / "logs" / "valkey.log"
        self._socket = self._data / _SOCKET_NAME
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker's URL, as Celery takes it."""
        return f"redis+socket://{quote(str(self._socket), safe='/')}?virtual_host=0"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, else None."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            EmbeddedError: it did not start.
        """
        binary = valkey_binary(self._home, self._account)
        private_folder(self._data, self._account)
        self._socket = socket_folder(self._data, _SOCKET_NAME, self._account) / _SOCKET_NAME
        self._end_leftover()
        options = [part for name, value in _SETTINGS.items() for part in (f"--{name}", value)]
        options += ["--dir", str(self._data), "--unixsocket", str(self._socket)]
        options += ["--pidfile", str(self._data / "valkey.pid")]
        with open_log(self.log) as log:
            self._child = start_engine(
                [binary, *options], self._account, cwd=self._data, log=log, parent_signal=signal.SIGTERM
            )
        self._wait_until_it_answers(self._child)

    def stop(self) -> None:
        """Write what is in memory to the append-only file and end."""
        if self._child is not None:
            stop_child(self._child, _STOP_SIGNALS)

    def _wait_until_it_answers(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while child.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.02)
        self.stop()
        raise EmbeddedError(f"Valkey did not start: read {self.log} ({last_lines(self.log)}).")

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                # While it loads its file it answers -LOADING.
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def _end_leftover(self) -> None:
        pid_file = self._data / "valkey.pid"
        if not pid_file.exists():
            return
        content = pid_file.read_text().strip()
        if content.isdigit():
            # Valkey shows its socket in its command line.
            end_leftover(int(content), str(self._socket), _STOP_SIGNALS)
        pid_file.unlink(missing_ok=True)
