"""The check that stands before every request: who may call."""

from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from watcher_server.auth.book import TokenBook
from watcher_server.auth.credentials import Headers, bearer, cookie, is_browser
from watcher_server.auth.failures import FailedLogins
from watcher_server.auth.network import (
    came_through_proxy,
    is_from_this_machine,
    is_loopback,
    names_allowed_host,
    names_this_machine,
)
from watcher_server.auth.origin import is_foreign, is_same_origin
from watcher_server.auth.refusals import no_valid_token, refusal
from watcher_server.auth.scopes import READING, needed_scope
from watcher_server.auth.scopes import Scope as TokenScope
from watcher_server.auth.service import digest
from watcher_server.settings import Settings

# Probes ask by the address of a pod or a container: these paths answer whatever the Host header says.
_PROBES = frozenset({"/health/live", "/health/ready"})
_OPEN_PATHS = frozenset({"/login", "/logout"})
# The URL of a ping is its own secret.
_PINGS = "/ping/"
_FRONT_DOOR = "/"
_TO_MEND = "make a token with `watcher token create NAME --scope admin`, and show it as Authorization: Bearer TOKEN."


def actor_of(scope: Scope) -> str:
    """Who changes something by this request: the name of the token that let it in, ``loopback`` without one."""
    actor: str = scope.get("watcher_token_name", "loopback")
    return actor


class AuthMiddleware:
    """Refuses requests that show no valid token; while there are no tokens, those that come from elsewhere.

    A token comes as ``Authorization: Bearer TOKEN``, or in the cookie of the login page. The cookie changes something
    only when the browser says that a page of Watcher asks, so that no other site can make the browser do it.
    ``watcher_access`` in the scope of a request is the rank of what it may do; None when it may do nothing.
    ``watcher_token_id`` and ``watcher_token_name`` are there when a token let it in.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may not pass; hand on every other."""
        if scope["type"] == "http" and scope["path"] not in _PROBES:
            answer = await self._refuse(scope)
            if answer is not None:
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope) -> Response | None:
        """The answer to a request that may not pass; None for one that may."""
        scope["watcher_access"] = None
        headers = dict(scope["headers"])
        settings: Settings = scope["app"].state.settings
        if settings.allowed_hosts is not None and not names_allowed_host(headers, settings):
            return refusal(421, "The Host header of this request names no host that WATCHER_ALLOWED_HOSTS lists.")
        is_ping = scope["path"].startswith(_PINGS)
        if scope["method"] not in READING and not is_ping and bearer(headers) is None and is_foreign(headers):
            return refusal(
                403,
                "Another site may not make this browser change anything here: open Watcher itself, and do it there.",
            )
        if _is_for_everybody(scope["path"], headers):
            return None
        book: TokenBook = scope["app"].state.token_book
        tokens = await book.tokens()
        if tokens is None:
            detail = "The database that holds the tokens does not answer; try again in a moment."
            return None if scope["path"] == _FRONT_DOOR else refusal(503, detail, {"Retry-After": "1"})
        if not tokens and not settings.require_token:
            return _refuse_without_tokens(scope, headers, settings)
        return await self._refuse_by_token(scope, headers, book)

    async def _refuse_by_token(self, scope: Scope, headers: Headers, book: TokenBook) -> Response | None:
        failed_logins: FailedLogins = scope["app"].state.failed_logins
        kind, shown = "bearer", bearer(headers)
        if shown is None and (scope["method"] in READING or is_same_origin(headers)):
            kind, shown = "cookie", cookie(headers)
        token = await book.find(digest(shown)) if shown else None
        if token is None:
            wait = failed_logins.note(scope, kind) if shown else None
            # The front door shows a person the login by itself.
            return None if scope["path"] == _FRONT_DOOR else no_valid_token(scope, headers, wait)
        scope["watcher_access"] = token.scope.rank
        scope["watcher_token_id"] = token.id
        scope["watcher_token_name"] = token.name
        needed = needed_scope(scope["method"], scope["path"])
        if token.scope.rank >= needed.rank:
            return None
        return refusal(403, f"This token may only {token.scope}: use one with the scope {needed}.")


def _is_for_everybody(path: str, headers: Headers) -> bool:
    if path == _FRONT_DOOR:
        # It welcomes programs. A person sees the overview there, or the login.
        return not is_browser(headers)
    return path in _OPEN_PATHS or path.startswith(("/static/", _PINGS))


def _refuse_without_tokens(scope: Scope, headers: Headers, settings: Settings) -> Response | None:
    if not settings.allow_unauthenticated:
        if came_through_proxy(scope, headers):
            return refusal(
                401,
                "This request came through a proxy (it has a Forwarded, X-Forwarded-*, X-Real-IP or Via header, or is "
                "HTTP/1.0), and without tokens Watcher answers only requests that come straight from its own machine: "
                + _TO_MEND,
            )
        # A server that is told to listen on the network does not open when its last token is revoked.
        if not is_loopback(settings.host) or not is_from_this_machine(scope):
            return refusal(
                401, f"Without tokens Watcher answers only requests that come from its own machine: {_TO_MEND}"
            )
        if settings.allowed_hosts is None and not names_this_machine(headers):
            return refusal(
                421,
                "Without tokens Watcher answers only as localhost or by a loopback address: add the name in the Host "
                f"header to WATCHER_ALLOWED_HOSTS, or {_TO_MEND}",
            )
    scope["watcher_access"] = TokenScope.ADMIN.rank
    return None
