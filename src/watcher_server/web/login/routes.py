"""Logging in with a token, and logging out."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from watcher_server.auth.book import has_passed
from watcher_server.auth.credentials import LOGGED_OUT
from watcher_server.auth.failures import FailedLogins
from watcher_server.auth.network import network_of
from watcher_server.auth.refusals import too_many_wrong_tokens
from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import find_token
from watcher_server.auth.sessions import create_session, end_session
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.web.login.cookies import mark_logged_out, set_session_cookie, shown_cookie
from watcher_server.web.login.page import local_target, show_form, why_over

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/login")
async def show_login(request: Request, next: str | None = None) -> Response:  # noqa: A002 - the name in the URL
    """The form. A browser that was sent here from a page is told why its session is over."""
    if next is not None:
        notice = await why_over(request)
    else:
        notice = "You are logged out." if shown_cookie(request) == LOGGED_OUT.encode() else None
    return show_form(request, local_target(next or "/ui"), notice=notice)


@router.post("/login")
async def log_in(
    request: Request,
    session: Session,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/ui",  # noqa: A002 - the name in the form
) -> Response:
    """Exchange a token for a session that may do what the token may."""
    target, shown = local_target(next), token.strip()
    connection = await session.connection()
    known = await connection.run_sync(find_token, shown) if shown else None
    if known is None:
        return _refuse(request, target)
    if has_passed(known.expires_at):
        error = "This token has expired: make another one, or give it a new secret with `watcher token rotate NAME`."
        return show_form(request, target, status_code=401, error=error)
    if known.scope is Scope.INGEST:
        error = "This token may only report runs: log in with one that may read."
        return show_form(request, target, status_code=403, error=error)
    session_id = await connection.run_sync(
        lambda sync: create_session(sync, token_id=known.id, address=address_of(request), browser=browser_of(request))
    )
    response = RedirectResponse(target, status_code=303)
    set_session_cookie(request, response, session_id, known.expires_at)
    return response


@router.post("/logout")
async def log_out(request: Request, session: Session) -> Response:
    """End the session of this browser."""
    shown = shown_cookie(request)
    if shown:
        await (await session.connection()).run_sync(end_session, shown)
    response = RedirectResponse("/login", status_code=303)
    mark_logged_out(request, response)
    return response


def address_of(request: Request) -> str:
    """Where a login comes from, as it can be shown."""
    return network_of(request.client.host) if request.client else "a local socket"


def browser_of(request: Request) -> str:
    """What a browser says it is."""
    return request.headers.get("user-agent", "")


def _refuse(request: Request, target: str) -> Response:
    failed_logins: FailedLogins = request.app.state.failed_logins
    wait = failed_logins.note(request.scope, "form")
    if wait is None:
        error = "This token is not valid: check that all of it was copied."
        return show_form(request, target, status_code=401, error=error)
    response = show_form(request, target, status_code=429, error=too_many_wrong_tokens(wait))
    response.headers["Retry-After"] = str(wait)
    return response
