"""The answers to requests that may not pass."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Scope

from watcher_server.auth.callers import Caller
from watcher_server.auth.credentials import Headers, bearer, is_browser
from watcher_server.auth.scopes import Scope as TokenScope
from watcher_server.auth.service import KnownToken
from watcher_server.kit.public_url import within


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says why the request may not pass; a 401 asks for a bearer token unless ``headers`` are given."""
    if headers is None and status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer"}
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)


def no_valid_token(scope: Scope, headers: Headers, wait_seconds: int | None) -> Response:
    """The request shows no token, or an unknown one: a person is led to the login, a program is told."""
    if b"hx-request" in headers and bearer(headers) is None:
        # The login ended while a page was open: the whole page goes to the form, not the part that was asked for.
        return refusal(401, "Log in again.", {"HX-Redirect": _login(_shown_page(scope, headers))})
    path, query = scope["path"], scope["query_string"].decode("latin-1")
    pages = {"/ui", "/reporting", "/lineage-graph", "/diagnostics", "/docs", "/scalar"}
    is_page = path in pages or path.startswith("/ui/")
    if is_page and scope["method"] in {"GET", "HEAD"} and is_browser(headers):
        return RedirectResponse(_login(f"{path}?{query}" if query else path), status_code=303)
    if wait_seconds is not None:
        return refusal(429, too_many_wrong_tokens(wait_seconds), {"Retry-After": str(wait_seconds)})
    return refusal(401, "Show a valid token: Authorization: Bearer TOKEN (`watcher token create` makes one).")


def expired(token: KnownToken) -> Response:
    """The request shows a token that has expired."""
    moment = f" on {token.expires_at:%Y-%m-%d at %H:%M UTC}" if token.expires_at else ""
    return refusal(401, f"This token expired{moment}: `watcher token rotate NAME` gives it a new secret.")


def role_needed(caller: Caller, needed: TokenScope) -> Response:
    """The caller may not do this: which scope or role does it need?"""
    if caller.kind == "token":
        return refusal(403, f"This token may only {caller.scope.allowed}: use one with the scope {needed}.")
    return refusal(
        403, f"This needs the role {needed.role} (the scope {needed}): {caller.name} has the role {caller.scope.role}."
    )


def too_many_wrong_tokens(wait_seconds: int) -> str:
    """What a client is told that has shown too many wrong tokens."""
    return f"Too many wrong tokens came from this address: wait {wait_seconds} seconds. A valid token works at once."


def _login(target: str) -> str:
    return f"/login?next={quote(target, safe='/')}"


def _shown_page(scope: Scope, headers: Headers) -> str:
    """The page that htmx says it stands on, as a path of this server."""
    try:
        parts = urlsplit(headers.get(b"hx-current-url", b"").decode("latin-1"))
    except ValueError:
        return "/ui"
    path = within(scope["app"].state.settings.root_path, parts.path)
    return (path or "/ui") + (f"?{parts.query}" if parts.query else "")
