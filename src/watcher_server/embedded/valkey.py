"""The embedded Valkey: the broker, a foreground child on a Unix socket, never on the network."""

import signal
import socket
from pathlib import Path
from urllib.parse import quote

from watcher_server.embedded.binaries import valkey_binary
from watcher_server.embedded.engine import Engine
from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.folders import private_folder, socket_folder
from watcher_server.embedded.process import end_leftover

# A long append-only file is loaded before the first command is answered.
START_LIMIT_SECONDS = 120
_SOCKET_NAME = "valkey.sock"

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    # The append-only file is on disk already; snapshots would only write the same again.
    "save": "",
    # With another policy a full broker drops messages.
    "maxmemory-policy": "noeviction",
    "always-show-logo": "no",
}


class EmbeddedValkey(Engine):
    """One Valkey server on ``WATCHER_HOME/valkey``."""

    name = "Valkey"
    folder = "valkey"
    # On this signal it writes what is in memory to the append-only file.
    stop_signals = ((signal.SIGTERM, 10.0),)

    @property
    def url(self) -> str:
        """The broker's URL, as Celery takes it."""
        return f"redis+socket://{quote(str(self._socket), safe='/')}?virtual_host=0"

    @property
    def _socket(self) -> Path:
        return self._sockets / _SOCKET_NAME

    def start(self) -> None:
        binary = valkey_binary(self._home, self._account)
        private_folder(self._data, self._account)
        self._sockets = socket_folder(self._data, _SOCKET_NAME, self._account)
        self._end_leftover()
        options = [part for name, value in _SETTINGS.items() for part in (f"--{name}", value)]
        options += ["--dir", str(self._data), "--unixsocket", str(self._socket)]
        options += ["--pidfile", str(self._data / "valkey.pid")]
        if not self._launch([binary, *options], START_LIMIT_SECONDS):
            raise EmbeddedError(f"Valkey did not start: read {self.log} ({self._last_lines()}).")

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
            end_leftover(int(content), str(self._socket), self.stop_signals)
        pid_file.unlink(missing_ok=True)
