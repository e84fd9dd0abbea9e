"""How an answer is written: head and body at once, where uvicorn writes them one after the other."""

import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

# The characters that uvicorn refuses, looked for in all headers at once: a value cannot add a header to the answer.
_NO_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class PlainCycle(RequestResponseCycle):
    """A request and its answer. An answer that says its length waits with its head for its body.

    That is one call of the system instead of two, and wakes the client once.
    """

    _start: Any = None

    async def send(self, message: Any) -> None:
        """Take a part of the answer from the application."""
        start = self._start
        if start is None:
            if message["type"] == "http.response.start" and not self.response_started and _says_length(message):
                self._start = message
            else:
                await super().send(message)
            return
        self._start = None
        if not self._write_whole(start, message):
            await super().send(start)
            await super().send(message)

    def _write_whole(self, start: Any, message: Any) -> bool:
        """Write the answer if this is all of it, and the connection goes on; whether it was."""
        if (
            message["type"] != "http.response.body"
            or message.get("more_body", False)
            or not self.keep_alive
            or self.disconnected
            or self.flow.write_paused
            or self.scope["method"] == "HEAD"
            or self.access_log
        ):
            return False
        headers = [*self.default_headers, *start["headers"]]
        body = message.get("body", b"")
        length, lines = 0, [STATUS_LINE[start["status"]]]
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name in {b"connection", b"transfer-encoding"}:
                return False
            lines += name, b": ", value, b"\r\n"
        names, values = zip(*headers, strict=True) if headers else ((), ())
        if length != len(body) or _NO_NAME.search(b"".join(names)) or _NO_VALUE.search(b"".join(values)):
            return False
        lines += b"\r\n", body
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(b"".join(lines))
        self.message_event.set()
        self.on_response()
        return True


def _says_length(start: Any) -> bool:
    if start["status"] in {204, 304}:
        return True
    for name, _ in start.get("headers", ()):  # noqa: SIM110 - as a generator it takes twice the time
        if name == b"content-length":
            return True
    return False
