"""Who may call: the check that stands before every request."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from watcher_server.auth.book import TokenBook
from watcher_server.auth.network import is_loopback
from watcher_server.auth.origin import is_foreign, is_same_origin
from watcher_server.auth.scopes import Scope as TokenScope
from watcher_server.auth.service import KnownToken, digest

COOKIE = "watcher_token"
_COOKIE_PREFIX = f"{COOKIE}=".encode()

_OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/login", "/logout"})
_OPEN_BELOW = "/static/"
# Answers everybody, but shows a browser what is inside only when it may see that.
_FRONT_DOOR = "/"
# What a person opens in a browser; everything else is for programs, which are told and not led to a form.
_PAGES = frozenset({"/ui", "/reporting", "/lineage-graph", "/diagnostics", "/docs", "/scalar"})
_PAGES_BELOW = "/ui/"
# Changing anything here or below is for administrators.
_ADMIN_PATHS = ("/log_cleanup", "/rate-limits")
_READING = frozenset({"GET", "HEAD"})

_READ, _WRITE, _ADMIN = (scope.rank for scope in TokenScope)
_RANKS = {scope: scope.rank for scope in TokenScope}

Headers = Mapping[bytes, bytes]


class AuthMiddleware:
    """Lets everybody in while there is no token, and otherwise those who show a valid one.

    ``Authorization: Bearer TOKEN`` is good for what its scope allows, and so is the cookie of the login page; but for
    changing anything only when the browser says that one of our own pages asks, so that no other site can make it.
    ``watcher_access`` in the scope of a request is the rank of what it may do; None for one that may do nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._book = TokenBook()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may not pass; hand on every other."""
        if scope["type"] == "http":
            refusal = await self._check(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _check(self, scope: Scope) -> Response | None:
        scope["watcher_access"] = None
        path: str = scope["path"]
        headers = dict(scope["headers"])
        # A page that shows its own token has it from its user, not from the browser's cookies.
        if scope["method"] not in _READING and b"authorization" not in headers and is_foreign(headers):
            return _foreign()
        if path in _OPEN_PATHS or path.startswith(_OPEN_BELOW) or (path == _FRONT_DOOR and not _is_browser(headers)):
            return None
        refusal = await self._refuse(scope, headers)
        return None if path == _FRONT_DOOR else refusal

    async def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        state = scope["app"].state
        tokens = await self._book.tokens(state.query_engine)
        if tokens is None:
            return _unavailable()
        if not tokens and _open_without_tokens(state.settings):
            scope["watcher_access"] = _ADMIN
            return None
        shown = _shown_token(headers, reading=scope["method"] in _READING)
        if shown is None:
            return _unauthenticated(scope, headers)
        token_hash = digest(shown)
        token = tokens.get(token_hash) or await self._book.look_again(state.query_engine, token_hash)
        if token is None:
            return _unauthenticated(scope, headers)
        self._book.note_use(token, state.query_engine)
        scope["watcher_access"] = _RANKS[token.scope]
        return _refuse_scope(scope, token)


def _open_without_tokens(settings: Any) -> bool:
    # Whoever revokes the last token of a server on the network does not mean to open it to everybody.
    return bool(settings.allow_unauthenticated) or is_loopback(settings.host)


def _shown_token(headers: Headers, *, reading: bool) -> bytes | None:
    """The token that the request shows, in its header or, where that is safe, by its cookie."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        kind, _, token = authorization.partition(b" ")
        return token.strip() if kind.lower() == b"bearer" else None
    return _cookie_token(headers.get(b"cookie", b"")) if reading or is_same_origin(headers) else None


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


def _foreign() -> Response:
    detail = "Another site may not make this browser change anything here: open Watcher itself, and do it there."
    return JSONResponse({"detail": detail}, status_code=403)


def _unauthenticated(scope: Scope, headers: Headers) -> Response:
    if b"hx-request" in headers and b"authorization" not in headers:
        # The login ended while a page was open: the whole page goes to the form, not a part of it.
        return JSONResponse(
            {"detail": "Log in again."}, status_code=401, headers={"HX-Redirect": _login(_shown_page(headers))}
        )
    if scope["method"] in _READING and _is_page(scope["path"]) and _is_browser(headers):
        query = scope["query_string"].decode("latin-1")
        return RedirectResponse(_login(scope["path"] + (f"?{query}" if query else "")), status_code=303)
    return JSONResponse(
        {"detail": "Show a valid token: Authorization: Bearer TOKEN (`watcher token create` makes one)."},
        status_code=401,
        headers={"WWW-Authenticate": "Bearer"},
    )


def _login(target: str) -> str:
    return f"/login?next={quote(target, safe='/')}"


def _shown_page(headers: Headers) -> str:
    """The page that htmx says it stands on, as a path of this server."""
    try:
        parts = urlsplit(headers.get(b"hx-current-url", b"").decode("latin-1"))
    except ValueError:
        return "/ui"
    return (parts.path or "/ui") + (f"?{parts.query}" if parts.query else "")


def _is_page(path: str) -> bool:
    return path in _PAGES or path.startswith(_PAGES_BELOW)


def _is_browser(headers: Headers) -> bool:
    """Whether somebody asks who can fill in a form; whoever shows a token in a header cannot."""
    return b"text/html" in headers.get(b"accept", b"") and b"authorization" not in headers
