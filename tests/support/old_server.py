"""A stand-in for a PostgreSQL server of another version: it lets everybody in, and says which version it is."""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STARTUP = 196_608  # The protocol's version 3.0; other first messages ask for encryption.


@contextmanager
def server_of_version(version: str) -> Iterator[str]:
    """The URL of such a server, for as long as the block lasts."""

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self._first_message() != _STARTUP:
                self.wfile.write(b"N")
            parameter = f"server_version\0{version}\0".encode()
            self.wfile.write(_message(b"R", struct.pack("!i", 0)) + _message(b"S", parameter) + _message(b"Z", b"I"))
            self.rfile.read()

        def _first_message(self) -> int:
            length, kind = struct.unpack("!ii", self.rfile.read(8))
            self.rfile.read(length - 8)
            return int(kind)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"postgresql://watcher@127.0.0.1:{server.server_address[1]}/watcher"
        server.shutdown()


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content
