"""Logging in with a token, and logging out."""

from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import RedirectResponse, Response

from watcher_server.auth.book import has_passed
from watcher_server.auth.credentials import COOKIE, LOGGED_OUT
from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import find_token
from watcher_server.auth.sessions import LONGEST, end_session
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.web.login.cookies import set_cookie, shown_cookie
from watcher_server.web.login.page import let_in, local_target, refuse, show_form, why_over
from watcher_server.web.pages import page_router

router = page_router()


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
    known = await ask(session, find_token, shown) if shown else None
    if known is None:
        reason = "This token is not valid: check that all of it was copied."
        return refuse(request, target, "form", reason, status_code=401)
    if has_passed(known.expires_at):
        error = "This token has expired: make another one, or give it a new secret with `watcher token rotate NAME`."
        return show_form(request, target, status_code=401, error=error)
    if known.scope is Scope.INGEST:
        error = "This token may only report runs: log in with one that may read."
        return show_form(request, target, status_code=403, error=error)
    return await let_in(request, session, target, token_id=known.id, expires_at=known.expires_at)


@router.post("/logout")
async def log_out(request: Request, session: Session) -> Response:
    """End the session of this browser."""
    shown = shown_cookie(request)
    if shown:
        await ask(session, end_session, shown)
    response = RedirectResponse("/login", status_code=303)
    # What stays in the place of the session tells its other windows.
    set_cookie(request, response, COOKIE, LOGGED_OUT, LONGEST)
    return response
