"""Logging in with a browser."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from watcher_server.auth.middleware import COOKIE
from watcher_server.auth.service import find_token
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.web.pages import render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)

_COOKIE_SECONDS = 7 * 86_400
# Not strict: whoever follows a link from a chat or a mail is logged in. Nothing is changed by following a link.
_SAME_SITE: Final = "lax"


@router.get("/login")
async def show_login(request: Request, next: str = "/ui") -> Response:  # noqa: A002 - the name in the URL
    """The form that asks for a token."""
    return render(request, "login.html", target=_local_target(next))


@router.post("/login")
async def log_in(
    request: Request,
    session: Session,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/ui",  # noqa: A002 - the name in the form
) -> Response:
    """Exchange a token for a cookie that may do what the token may."""
    target = _local_target(next)
    shown = token.strip()
    connection = await session.connection()
    if not shown or await connection.run_sync(find_token, shown) is None:
        error = "This token is not valid: check that all of it was copied."
        return render(request, "login.html", status_code=401, target=target, error=error)
    response = RedirectResponse(target, status_code=303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, shown, max_age=_COOKIE_SECONDS, httponly=True, samesite=_SAME_SITE, secure=secure)
    return response


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Forget the cookie."""
    response = RedirectResponse("/login", status_code=303)
    secure = request.url.scheme == "https"
    response.delete_cookie(COOKIE, httponly=True, samesite=_SAME_SITE, secure=secure)
    return response


def _local_target(target: str) -> str:
    """Where to go after the login: a path of this server, never another site."""
    # One slash and no second begins a path, whatever follows. Browsers take a backslash for a slash, and leave out
    # control characters.
    is_path = target.startswith("/") and not target.startswith("//")
    return target if is_path and target.isprintable() and "\\" not in target else "/ui"
