"""Who may call: the check that stands before every request."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from watcher_server.auth.book import TokenBook
from watcher_server.auth.network import is_loopback
from watcher_server.auth.scopes import Scope as TokenScope
from watcher_server.auth.service import KnownToken, digest

COOKIE = "watcher_token"
_COOKIE_PREFIX = f"{COOKIE}=".encode()

_OPEN_PATHS = frozenset({"/", "/health/live", "/health/ready", "/login", "/logout", "/static/watcher.css"})
# What a person opens in a browser; everything else is for programs, which are told and not led to a form.
_PAGES = frozenset({"/reporting", "/lineage-graph", "/diagnostics", "/docs", "/scalar"})
# Changing anything here or below is for administrators.
_ADMIN_PATHS = ("/log_cleanup", "/rate-limits")
_READING = frozenset({"GET", "HEAD"})

_READ, _WRITE, _ADMIN = (scope.rank for scope in TokenScope)
_RANKS = {scope: scope.rank for scope in TokenScope}

Headers = Iterable[tuple[bytes, bytes]]


class AuthMiddleware:
    """Lets everybody in while there is no token, and otherwise those who show a valid one.

    ``Authorization: Bearer TOKEN`` is good for what its scope allows. The cookie of the login page is good for
    reading only, so that no other site can make a browser write.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._book = TokenBook()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may not pass; hand on every other."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            refusal = await self._refuse(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope) -> Response | None:
        state = scope["app"].state
        tokens = await self._book.tokens(state.query_engine)
        if tokens is None:
            return _unavailable()
        if not tokens and _open_without_tokens(state.settings):
            return None
        shown, from_cookie = _shown_token(scope["headers"], reading=scope["method"] in _READING)
        if shown is None:
            return _unauthenticated(scope)
        token_hash = digest(shown)
        token = tokens.get(token_hash) or await self._book.look_again(state.query_engine, token_hash)
        if token is None:
            return _unauthenticated(scope)
        self._book.note_use(token, state.query_engine)
        return None if from_cookie else _refuse_scope(scope, token)


def _open_without_tokens(settings: Any) -> bool:
    # Whoever revokes the last token of a server on the network does not mean to open it to everybody.
    return bool(settings.allow_unauthenticated) or is_loopback(settings.host)


def _shown_token(headers: Headers, *, reading: bool) -> tuple[bytes | None, bool]:
    """The token that the request shows, and whether it comes from the cookie."""
    cookie = None
    for name, value in headers:
        if name == b"authorization":
            kind, _, token = value.partition(b" ")
            return (token.strip() if kind.lower() == b"bearer" else None), False
        if name == b"cookie" and reading:
            cookie = _cookie_token(value)
    return cookie, True


def _cookie_token(value: bytes) -> bytes | None:
    for part in value.split(b";"):
        if part.strip().startswith(_COOKIE_PREFIX):
            return part.strip().removeprefix(_COOKIE_PREFIX)
    return None


def _refuse_scope(scope: Scope, token: KnownToken) -> Response | None:
    needed = _needed_rank(scope["method"], scope["path"])
    if _RANKS[token.scope] >= needed:
        return None
    wanted = list(TokenScope)[needed]
    return JSONResponse(
        {"detail": f"This token may only {token.scope}: use one with the scope {wanted}."}, status_code=403
    )


def _needed_rank(method: str, path: str) -> int:
    if method in _READING:
        return _READ
    below_admin = any(path == admin or path.startswith(f"{admin}/") for admin in _ADMIN_PATHS)
    return _ADMIN if below_admin else _WRITE


def _unavailable() -> Response:
    return JSONResponse(
        {"detail": "The database that holds the tokens does not answer; try again in a moment."},
        status_code=503,
        headers={"Retry-After": "1"},
    )


def _unauthenticated(scope: Scope) -> Response:
    if scope["method"] in _READING and scope["path"] in _PAGES and _is_browser(scope["headers"]):
        query = scope["query_string"].decode("latin-1")
        target = scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse(f"/login?next={quote(target, safe='/')}", status_code=303)
    return JSONResponse(
        {"detail": "Show a valid token: Authorization: Bearer TOKEN (`watcher token create` makes one)."},
        status_code=401,
        headers={"WWW-Authenticate": "Bearer"},
    )


def _is_browser(headers: Headers) -> bool:
    """Whether somebody asks who can fill in a form; whoever shows a token in a header cannot."""
    shown = dict(headers)
    return b"text/html" in shown.get(b"accept", b"") and b"authorization" not in shown
