"""The cookie of a session: set by a login, and marked when the browser logs out."""

from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from watcher_server.auth.credentials import COOKIE, LOGGED_OUT, cookie, cookie_name
from watcher_server.auth.sessions import LONGEST
from watcher_server.http.state import app_state

# Not strict: a person who follows a link from a chat or a mail is logged in. Following a link changes nothing.
_SAME_SITE: Final = "lax"


def set_cookie(request: Request, response: Response, name: str, value: str, lifetime: timedelta) -> None:
    """Give the browser a cookie that no script reads; over https it is sent to this host and over https only."""
    scheme, root = request.url.scheme, app_state(request).settings.root_path
    response.set_cookie(
        cookie_name(name, scheme, root),
        value,
        path=root or "/",
        max_age=max(int(lifetime.total_seconds()), 0),
        httponly=True,
        samesite=_SAME_SITE,
        secure=scheme == "https",
    )


def shown_cookie(request: Request, name: str = COOKIE) -> bytes | None:
    """What the browser shows of a cookie; None when it has none."""
    root = app_state(request).settings.root_path
    return cookie(dict(request.scope["headers"]), request.url.scheme, root, name)


def set_session_cookie(
    request: Request, response: Response, session_id: str, token_expires_at: datetime | None
) -> None:
    """Give the browser its session, for as long as that can last."""
    rest = LONGEST if token_expires_at is None else min(LONGEST, token_expires_at - datetime.now(UTC))
    set_cookie(request, response, COOKIE, session_id, rest)


def mark_logged_out(request: Request, response: Response) -> None:
    """Take the session from the browser, and leave a word for its other windows."""
    set_cookie(request, response, COOKIE, LOGGED_OUT, LONGEST)
