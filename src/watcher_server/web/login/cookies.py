"""Cookies, as a login and the end of a session set them, and as the browser shows them."""

from datetime import timedelta

from fastapi import Request
from fastapi.responses import Response

from watcher_server.auth.credentials import COOKIE, cookie, cookie_name
from watcher_server.http.state import app_state


def set_cookie(request: Request, response: Response, name: str, value: str, lifetime: timedelta) -> None:
    """Give the browser a cookie that no script reads; over https it is sent to this host and over https only."""
    scheme, root = request.url.scheme, app_state(request).settings.root_path
    # Not strict: a person who follows a link from a chat or a mail is logged in. Following a link changes nothing.
    response.set_cookie(
        cookie_name(name, scheme, root),
        value,
        path=root or "/",
        max_age=max(int(lifetime.total_seconds()), 0),
        httponly=True,
        samesite="lax",
        secure=scheme == "https",
    )


def shown_cookie(request: Request, name: str = COOKIE) -> bytes | None:
    """What the browser shows of a cookie; None when it has none."""
    root = app_state(request).settings.root_path
    return cookie(dict(request.scope["headers"]), request.url.scheme, root, name)
