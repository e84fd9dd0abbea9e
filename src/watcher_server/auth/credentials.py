"""The token that a request shows, and whether a person or a program shows it."""

from collections.abc import Mapping

COOKIE = "watcher_token"

Headers = Mapping[bytes, bytes]


def bearer(headers: Headers) -> bytes | None:
    """The token in the Authorization header; None without one. Browsers attach Basic by themselves, never Bearer."""
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if kind.lower() == b"bearer" else None


def cookie(headers: Headers) -> bytes | None:
    """The token in the cookie of the login page; None without one."""
    prefix = f"{COOKIE}=".encode()
    for part in headers.get(b"cookie", b"").split(b";"):
        if part.strip().startswith(prefix):
            return part.strip().removeprefix(prefix)
    return None


def is_browser(headers: Headers) -> bool:
    """Whether a person can answer with a form; a program that shows a bearer token cannot."""
    return b"text/html" in headers.get(b"accept", b"") and bearer(headers) is None
