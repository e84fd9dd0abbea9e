"""The check that stands before every request: who may call."""

from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from watcher_server.audit.acting import begin_acting, end_acting
from watcher_server.auth import network
from watcher_server.auth.acting import find_actor
from watcher_server.auth.book import TokenBook, has_passed
from watcher_server.auth.callers import LOOPBACK, Caller
from watcher_server.auth.credentials import LOGGED_OUT, Headers, bearer, cookie, is_browser
from watcher_server.auth.failures import FailedLogins
from watcher_server.auth.refusals import expired, no_valid_token, refusal, role_needed
from watcher_server.auth.scopes import READING, needed_scope
from watcher_server.auth.scopes import Scope as TokenScope
from watcher_server.auth.service import digest
from watcher_server.auth.trusted_header import header_caller, named_by_proxy, without_role
from watcher_server.settings import Settings

# Probes ask by the address of a pod or a container: these paths answer whatever the Host header says.
_PROBES = frozenset({"/health/live", "/health/ready"})
# The URL of a ping is its own secret.
_PINGS = "/ping/"
_TO_MEND = "make a token with `watcher token create NAME --scope admin`, and show it as Authorization: Bearer TOKEN."


class AuthMiddleware:
    """Refuses requests of strangers; while there are no tokens, those that come from elsewhere.

    A token comes as ``Authorization: Bearer TOKEN``. A browser that logged in shows the cookie of its session, and a
    trusted proxy names people in a header. These two change something only when the browser says that a page of
    Watcher asks, so that no other site can make the browser do it.

    ``watcher_caller`` in the scope of a request is who sends it, a :class:`~watcher_server.auth.callers.Caller`, and
    ``watcher_access`` the rank of what it may do; None when it may do nothing, or only report runs.
    ``watcher_caller_id`` tells callers apart. A change that comes of the request is made by that caller.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may not pass; hand on every other."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        answer = await self._refuse(scope)
        if answer is not None:
            await answer(scope, receive, send)
            return
        # What only reads needs no actor.
        actor = None if scope["method"] in READING else find_actor(scope)
        before = None if actor is None else begin_acting(actor)
        try:
            await self._app(scope, receive, send)
        finally:
            if before is not None:
                end_acting(before)

    async def _refuse(self, scope: Scope) -> Response | None:
        """The answer to a request that may not pass; None for one that may."""
        scope["watcher_access"] = None
        headers = dict(scope["headers"])
        settings: Settings = scope["app"].state.settings
        if settings.allowed_hosts is not None and not network.names_allowed_host(headers, settings):
            return refusal(421, "The Host header of this request names no host that WATCHER_ALLOWED_HOSTS lists.")
        is_ping = scope["path"].startswith(_PINGS)
        if scope["method"] not in READING and not is_ping and bearer(headers) is None and network.is_foreign(headers):
            return refusal(
                403,
                "Another site may not make this browser change anything here: open Watcher itself, and do it there.",
            )
        if _is_for_everybody(scope, headers):
            return None
        book: TokenBook = scope["app"].state.token_book
        tokens = await book.tokens()
        if tokens is None:
            detail = "The database that holds the tokens does not answer; try again in a moment."
            return None if _is_front_door(scope) else refusal(503, detail, {"Retry-After": "1"})
        if not tokens and not settings.asks_always:
            return _refuse_without_tokens(scope, headers, settings)
        return await self._refuse_by_login(scope, headers, book)

    async def _refuse_by_login(self, scope: Scope, headers: Headers, book: TokenBook) -> Response | None:
        shown = bearer(headers)
        caller = await _by_token(scope, headers, shown, book) if shown else await _by_browser(scope, headers, book)
        if isinstance(caller, Response):
            return caller
        if caller is None:
            # The front door shows a person the login by itself.
            return None if _is_front_door(scope) else no_valid_token(scope, headers, None)
        _let_in(scope, caller)
        needed = needed_scope(scope["method"], scope["path"])
        return None if caller.scope.includes(needed) else role_needed(caller, needed)


def _let_in(scope: Scope, caller: Caller) -> None:
    scope["watcher_caller"] = caller
    scope["watcher_caller_id"] = caller.id
    if caller.scope is not TokenScope.INGEST:
        scope["watcher_access"] = caller.scope.rank


async def _by_token(scope: Scope, headers: Headers, shown: bytes, book: TokenBook) -> Caller | Response:
    token = await book.find(digest(shown))
    if token is None:
        return _failed(scope, headers, "bearer")
    if has_passed(token.expires_at):
        return expired(token)
    return Caller("token", token.name, token.scope, token.id, token.expires_at)


async def _by_browser(scope: Scope, headers: Headers, book: TokenBook) -> Caller | Response | None:
    if scope["method"] not in READING and not network.is_same_origin(headers):
        return None
    settings: Settings = scope["app"].state.settings
    name = named_by_proxy(scope, settings)
    if name is not None:
        return header_caller(name, scope, settings) or refusal(403, without_role(name))
    shown = cookie(headers, scope["scheme"], settings.root_path)
    if not shown or shown == LOGGED_OUT.encode():
        return None
    found = await book.find_session(digest(shown))
    if found is None:
        return None if _is_front_door(scope) else _failed(scope, headers, "cookie")
    session, ending = found
    if ending is not None or session.owner_id is None:
        return None
    return Caller("session", session.name, session.scope, session.owner_id, session.expires_at, session.id)


def _failed(scope: Scope, headers: Headers, kind: str) -> Response:
    failed_logins: FailedLogins = scope["app"].state.failed_logins
    return no_valid_token(scope, headers, failed_logins.note(scope, kind))


def _is_front_door(scope: Scope) -> bool:
    # What is sent there are events of OpenLineage, and those need a token.
    return bool(scope["path"] == "/" and scope["method"] != "POST")


def _is_for_everybody(scope: Scope, headers: Headers) -> bool:
    if _is_front_door(scope):
        # It welcomes programs. A person sees the overview there, or the login.
        return not is_browser(headers)
    path: str = scope["path"]
    is_login = path in {"/login", "/login/start", "/login/callback", "/logout"}
    return is_login or path.startswith(("/static/", _PINGS))


def _refuse_without_tokens(scope: Scope, headers: Headers, settings: Settings) -> Response | None:
    if not settings.allow_unauthenticated:
        if network.came_through_proxy(scope, headers):
            return refusal(
                401,
                "This request came through a proxy (it has a Forwarded, X-Forwarded-*, X-Real-IP or Via header, or is "
                "HTTP/1.0), and without tokens Watcher answers only requests that come straight from its own machine: "
                + _TO_MEND,
            )
        # A server that is told to listen on the network does not open when its last token is revoked.
        if not network.is_loopback(settings.host) or not network.is_from_this_machine(scope):
            return refusal(
                401, f"Without tokens Watcher answers only requests that come from its own machine: {_TO_MEND}"
            )
        if settings.allowed_hosts is None and not network.names_this_machine(headers):
            return refusal(
                421,
                "Without tokens Watcher answers only as localhost or by a loopback address: add the name in the Host "
                f"header to WATCHER_ALLOWED_HOSTS, or {_TO_MEND}",
            )
    _let_in(scope, LOOPBACK)
    return None
