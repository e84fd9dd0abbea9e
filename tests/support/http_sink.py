"""A local server in the place of a channel's other side: it keeps every request, and answers as a script says."""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.slack import Answer


@dataclass(frozen=True)
class Received:
    """A request; its headers by their names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class HttpSink:
    """The URL of the sink, and the requests so far. Without a script it answers 200 with ``word``."""

    url: str = ""
    word: str = "ok"
    script: deque[Answer] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)

    def say(self, status: int = 200, word: Any = "", **fields: Any) -> None:
        """Have it answer a request to come with this; what is no text is sent as JSON."""
        self.script.append(Answer(status, word if isinstance(word, str) else json.dumps(word), **fields))


@contextmanager
def http_sink() -> Iterator[HttpSink]:
    """A sink that answers until the block ends."""
    sink = HttpSink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            sink.received.append(Received(self.command, self.path, headers, body))
            answer = sink.script.popleft() if sink.script else Answer(word=sink.word)
            time.sleep(answer.after_seconds)
            if answer.is_half:
                self.wfile.write(b"HTTP/1.1 2")
                self.close_connection = True
                return
            content = answer.word.encode()
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(content)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - the name that the server asks for

        def log_message(self, *_: object) -> None:
            """Requests are seen in ``received``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sink.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()
