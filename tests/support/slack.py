"""A local server in the place of Slack that keeps the messages it receives, and answers as a script says."""

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MESSAGE = "Message: "


@dataclass(frozen=True)
class Answer:
    """What the sink does with one message.

    Attributes:
        status: only with 200 it keeps the text.
        word: the body.
        headers: of the answer.
        after_seconds: it takes so long once the message has arrived.
        before_seconds: it takes so long before it reads the message.
        is_half: the connection ends in the middle of the answer's first line.
        is_dropped: the connection ends before the message is read.
    """

    status: int = 200
    word: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after_seconds: float = 0
    before_seconds: float = 0
    is_half: bool = False
    is_dropped: bool = False


@dataclass
class SlackSink:
    """The URL for webhooks, and the texts received so far.

    It answers with the next of ``script``, and with ``status`` when that is empty. With ``pace_seconds`` it takes one
    message in that time, and answers others with 429 and Retry-After. With ``slow_seconds`` it takes so long to answer.
    """

    url: str = ""
    status: int = 200
    script: deque[Answer] = field(default_factory=deque)
    pace_seconds: float = 0
    slow_seconds: float = 0
    texts: list[str] = field(default_factory=list)
    refused: int = 0
    requests: int = 0
    _taken_at: float = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def messages(self) -> Counter[str]:
        """How often each alert's message arrived."""
        return Counter(self.order())

    def order(self) -> list[str]:
        """The messages of the alerts, as they arrived."""
        lines = [line for text in self.texts for line in text.splitlines() if line.startswith(_MESSAGE)]
        return [unescape(line.removeprefix(_MESSAGE)) for line in lines]

    def heads(self) -> list[str]:
        """What comes before the details, which tells alerts apart, of each text as it arrived."""
        return [unescape(text.partition("\n\n")[0]) for text in self.texts]

    def answer(self) -> Answer:
        """What to do with the message at hand."""
        with self._lock:
            self.requests += 1
            if self.script:
                return self.script.popleft()
            if not self.pace_seconds:
                return Answer(self.status, after_seconds=self.slow_seconds)
            if time.monotonic() - self._taken_at < self.pace_seconds:
                return Answer(429, headers={"Retry-After": "1"})
            self._taken_at = time.monotonic()
            return Answer()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Each alert of a burst comes over a connection of its own.
    request_queue_size = 128


@contextmanager
def slack_sink() -> Iterator[SlackSink]:
    """A sink that answers until the block ends."""
    sink = SlackSink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = sink.answer()
            time.sleep(answer.before_seconds)
            if answer.is_dropped:
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if answer.status == 200:
                sink.texts.append(json.loads(body)["text"])
            else:
                sink.refused += 1
            time.sleep(answer.after_seconds)
            if answer.is_half:
                self.wfile.write(b"HTTP/1.1 2")
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.word.encode())

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
