"""What a request shows: a token, or the cookie of a session; and whether a person or a program shows it."""

from collections.abc import Mapping

COOKIE = "watcher_session"
# What the cookie holds once its browser has logged out, so that its other windows can say so.
LOGGED_OUT = "logged-out"

Headers = Mapping[bytes, bytes]


def bearer(headers: Headers) -> bytes | None:
    """The token in the Authorization header; None without one. Browsers attach Basic by themselves, never Bearer."""
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if kind.lower() == b"bearer" else None


def cookie_name(name: str, scheme: str, root: str) -> str:
    """The name under which a cookie is kept. Over https no other host of the domain can set one that begins so.

    Under a path, where the cookie is for that path alone, browsers keep only one of the weaker prefix.
    """
    prefix = "__Secure-" if root else "__Host-"
    return f"{prefix}{name}" if scheme == "https" else name


def cookie(headers: Headers, scheme: str, root: str, name: str = COOKIE) -> bytes | None:
    """What a cookie holds, by default the session's id; None without one."""
    prefix = f"{cookie_name(name, scheme, root)}=".encode()
    for part in headers.get(b"cookie", b"").split(b";"):
        if part.strip().startswith(prefix):
            return part.strip().removeprefix(prefix)
    return None


def is_browser(headers: Headers) -> bool:
    """Whether a person can answer with a form; a program that shows a bearer token cannot."""
    return b"text/html" in headers.get(b"accept", b"") and bearer(headers) is None
