"""The login page: its form, the way to the provider, and why a session is over."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.auth.credentials import COOKIE, LOGGED_OUT
from watcher_server.auth.failures import FailedLogins
from watcher_server.auth.network import network_of
from watcher_server.auth.oidc.provider import OidcProvider
from watcher_server.auth.refusals import too_many_wrong_tokens
from watcher_server.auth.sessions import LONGEST, SENTENCES, Ending, create_session, find_session
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.web.login.cookies import set_cookie, shown_cookie
from watcher_server.web.pages import render


def show_form(
    request: Request, target: str, *, status_code: int = 200, error: str | None = None, notice: str | None = None
) -> HTMLResponse:
    """The form that asks for a token, with the way to the provider where there is one."""
    provider: OidcProvider | None = request.app.state.oidc
    return render(
        request,
        "login.html",
        status_code=status_code,
        target=target,
        error=error,
        notice=notice,
        provider=None if provider is None else provider.host,
        start=f"/login/start?next={quote(target, safe='/')}",
    )


def refuse(request: Request, target: str, kind: str, reason: str, *, status_code: int) -> HTMLResponse:
    """The form again, with the reason. An address gets only so many refusals of a kind within a minute."""
    failed_logins: FailedLogins = request.app.state.failed_logins
    wait = failed_logins.note(request.scope, kind)
    if wait is None:
        return show_form(request, target, status_code=status_code, error=reason)
    response = show_form(request, target, status_code=429, error=too_many_wrong_tokens(wait))
    response.headers["Retry-After"] = str(wait)
    return response


async def let_in(
    request: Request,
    session: Session,
    target: str,
    *,
    token_id: int | None = None,
    person_id: int | None = None,
    expires_at: datetime | None = None,
) -> Response:
    """Begin a session of a token or of a person, and go on to the page."""
    owner = {"token_id": token_id, "person_id": person_id}
    address = network_of(request.client.host) if request.client else "a local socket"
    browser = request.headers.get("user-agent", "")
    session_id = await ask(session, lambda sync: create_session(sync, **owner, address=address, browser=browser))
    response = RedirectResponse(target, status_code=303)
    # For as long as it can last.
    rest = LONGEST if expires_at is None else min(LONGEST, expires_at - datetime.now(UTC))
    set_cookie(request, response, COOKIE, session_id, rest)
    return response


def local_target(target: str) -> str:
    """Where to go after the login: a path of this server, never another site."""
    # A path begins with exactly one slash. Browsers take a backslash for a slash, and leave out control characters.
    is_path = target.startswith("/") and not target.startswith("//")
    return target if is_path and target.isprintable() and "\\" not in target else "/ui"


async def why_over(request: Request) -> str | None:
    """Why the session of this browser is over, in a sentence; None when it had none."""
    shown = shown_cookie(request)
    if not shown:
        return None
    if shown == LOGGED_OUT.encode():
        return SENTENCES[Ending.LOGOUT]
    try:
        # The form is there while the database keeps others waiting.
        async with asyncio.timeout(1), app_state(request).query_engine.connect() as connection:
            session = await connection.run_sync(find_session, shown)
    except (SQLAlchemyError, OSError, TimeoutError):
        return None
    if session is None:
        return "Your session is over."
    ending = session.ending_now()
    return None if ending is None else SENTENCES[ending]
