"""A login that was begun: what its browser keeps until it comes back from the provider."""

import base64
import hashlib
import secrets
from dataclasses import dataclass

COOKIE = "watcher_login"
SECONDS = 600


@dataclass(frozen=True)
class Attempt:
    """``state`` ties the answer to this browser (RFC 6749), ``nonce`` the ID token, ``verifier`` the code (RFC 7636).

    ``target`` is where the login leads. All of it stays in a cookie of the browser: another one cannot finish it.
    """

    state: str
    nonce: str
    verifier: str
    target: str

    @property
    def challenge(self) -> str:
        """The SHA-256 of the verifier, as PKCE sends it."""
        return _encode(hashlib.sha256(self.verifier.encode()).digest())

    def as_cookie(self) -> str:
        """What the cookie holds."""
        return ".".join((self.state, self.nonce, self.verifier, _encode(self.target.encode())))


def new_attempt(target: str) -> Attempt:
    """An attempt that leads to ``target``."""
    return Attempt(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), target)


def read_attempt(cookie: bytes | None) -> Attempt | None:
    """The attempt that a cookie holds; None without one, or when it is none."""
    try:
        state, nonce, verifier, target = parts = (cookie or b"").decode("latin-1").split(".")
        decoded = base64.urlsafe_b64decode(target + "=" * (-len(target) % 4)).decode()
    except ValueError:
        return None
    return Attempt(state, nonce, verifier, decoded) if all(parts) else None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
