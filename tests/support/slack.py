"""A place on this machine that plays Slack, and counts what arrives."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MESSAGE = "Message: "


@dataclass
class SlackSink:
    """Where a webhook posts to, and what it has taken so far; ``status`` is its answer, and only 200 takes."""

    url: str = ""
    status: int = 200
    texts: list[str] = field(default_factory=list)
    refused: int = 0

    def messages(self) -> Counter[str]:
        """How often each alert's message arrived."""
        lines = [line for text in self.texts for line in text.splitlines() if line.startswith(_MESSAGE)]
        return Counter(unescape(line.removeprefix(_MESSAGE)) for line in lines)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A burst of alerts comes in as many connections.
    request_queue_size = 128


@contextmanager
def slack_sink() -> Iterator[SlackSink]:
    """A sink that answers until the block ends."""
    sink = SlackSink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = sink.status
            if status == 200:
                sink.texts.append(json.loads(body)["text"])
            else:
                sink.refused += 1
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Requests are seen in ``texts``."""

    with _Server(("127.0.0.1", 0), Handler) as server:
        sink.url = f"http://127.0.0.1:{server.server_port}/services/a-secret"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()
