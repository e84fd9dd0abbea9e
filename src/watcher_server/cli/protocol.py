"""HTTP/1.1 as some clients begin it."""

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)
_LONGEST_HEAD = 8192


class PlainHttpProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, deaf to the offer of HTTP/2 over clear text that Java's client makes by default.

    A server may ignore the offer (RFC 9110, 7.8), but the parser stops reading where it stands, and the body of the
    request is lost.
    """

    def data_received(self, data: bytes) -> None:
        """Take what the connection received, without the offer."""
        if b"h2c" in data[:_LONGEST_HEAD]:
            data = _OFFER.sub(b"", data, count=1)
        super().data_received(data)

    def shutdown(self) -> None:
        """Stop after the answer under way, and let an answer without an end, such as a stream of events, know it."""
        self.app_state["stopping"].set()
        super().shutdown()
