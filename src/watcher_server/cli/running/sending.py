"""Reports over HTTP, as pings: the same way in for those who have a token and those who have only a ping URL."""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_ANSWER_BYTES = 64 * 1024


class AwayError(Exception):
    """Watcher did not take it now; later it may. ``seconds`` is how long it asks to wait, if it does."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class RefusedError(Exception):
    """Watcher will never take it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def post(url: str, body: Mapping[str, Any], *, token: str | None, timeout: float) -> tuple[bytes, str | None]:
    """Send JSON; the answer and the id of the execution that it names.

    Raises:
        AwayError: no answer, one of a server in trouble, or one about the token or the pace.
        RefusedError: an answer that another try would get again.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise RefusedError(0, "the address of Watcher is no http:// or https:// URL")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"Content-Type": "application/json", "User-Agent": "watcher-run"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection = kind(parts.hostname, parts.port, timeout=timeout)
        try:
            connection.request("POST", f"{parts.path}?{parts.query}", json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read(_ANSWER_BYTES)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AwayError(_words(error)) from None
    _check(answer, text)
    return text, answer.getheader("Watcher-Execution-Id")


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__} {error}".strip()


def _check(answer: http.client.HTTPResponse, text: bytes) -> None:
    if answer.status < http.client.MULTIPLE_CHOICES:
        return
    line = f"{answer.status} {text.decode('utf-8', 'replace').strip()[:200]}"
    if answer.status < http.client.INTERNAL_SERVER_ERROR and answer.status not in {401, 403, 408, 421, 425, 429}:
        raise RefusedError(answer.status, line)
    wait = answer.getheader("Retry-After") or ""
    raise AwayError(line, float(wait) if wait.isascii() and wait.isdigit() else None)
