"""The login page: a token in exchange for a cookie."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from watcher_server.auth.credentials import COOKIE
from watcher_server.auth.failures import FailedLogins
from watcher_server.auth.refusals import too_many_wrong_tokens
from watcher_server.auth.service import find_token
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.web.pages import render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)

# Not strict: a person who follows a link from a chat or a mail is logged in. Following a link changes nothing.
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
    target, shown = _local_target(next), token.strip()
    connection = await session.connection()
    if not shown or await connection.run_sync(find_token, shown) is None:
        return _refuse(request, target)
    response = RedirectResponse(target, status_code=303)
    response.set_cookie(
        COOKIE, shown, max_age=7 * 86_400, httponly=True, samesite=_SAME_SITE, secure=request.url.scheme == "https"
    )
    return response


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Forget the cookie."""
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE, httponly=True, samesite=_SAME_SITE, secure=request.url.scheme == "https")
    return response


def _refuse(request: Request, target: str) -> Response:
    failed_logins: FailedLogins = request.app.state.failed_logins
    wait = failed_logins.note(request.scope, "form")
    if wait is None:
        error = "This token is not valid: check that all of it was copied."
        return render(request, "login.html", status_code=401, target=target, error=error)
    response = render(request, "login.html", status_code=429, target=target, error=too_many_wrong_tokens(wait))
    response.headers["Retry-After"] = str(wait)
    return response


def _local_target(target: str) -> str:
    """Where to go after the login: a path of this server, never another site."""
    # A path begins with exactly one slash. Browsers take a backslash for a slash, and leave out control characters.
    is_path = target.startswith("/") and not target.startswith("//")
    return target if is_path and target.isprintable() and "\\" not in target else "/ui"
