"""The login page: its form, the way to the provider, and why a session is over."""

import asyncio
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.auth.credentials import LOGGED_OUT
from watcher_server.auth.oidc.provider import OidcProvider
from watcher_server.auth.sessions import SENTENCES, Ending, find_session
from watcher_server.http.state import app_state
from watcher_server.web.login.cookies import shown_cookie
from watcher_server.web.pages import render

# The form is there while the database keeps others waiting.
_SECONDS = 1.0


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
        async with asyncio.timeout(_SECONDS), app_state(request).query_engine.connect() as connection:
            return await connection.run_sync(_why_over, shown)
    except (SQLAlchemyError, OSError, TimeoutError):
        return None


def _why_over(connection: Connection, shown: bytes) -> str | None:
    session = find_session(connection, shown)
    if session is None:
        return "Your session is over."
    ending = session.ending_now()
    return None if ending is None else SENTENCES[ending]
