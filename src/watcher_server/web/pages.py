"""Rendering pages: templates and the headers that go with every page."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server import __version__
from watcher_server.auth.scopes import Scope
from watcher_server.web import filters
from watcher_server.web.assets import asset
from watcher_server.web.navigation import SECTIONS

_TEMPLATES = Path(__file__).parent / "templates"

# Nothing from another host, no script or style but those of our own files. Charts are saved by way of blobs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    # The same address answers a page, or a part of it to htmx.
    "Vary": "HX-Request, Accept, Cookie",
}

_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "count": filters.count,
    "size": filters.size,
    "percent": filters.percent,
    "duration": filters.duration,
    "when": filters.when,
    "ago": filters.ago,
    "clock": filters.clock,
}
_environment.globals |= {"version": __version__, "asset": asset, "sections": SECTIONS}


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """The page as an answer.

    Besides the given context a template knows ``path``, ``query_string``, ``logged_in``, ``may_write`` (whether the
    viewer may change anything), ``error`` (None unless given) and the globals ``asset``, ``version`` and ``sections``.
    """
    context.setdefault("error", None)
    page = _environment.get_template(template).render(
        path=request.url.path,
        query_string=request.url.query,
        logged_in="watcher_token" in request.cookies,
        may_write=may_write(request),
        **context,
    )
    return HTMLResponse(page, status_code=status_code, headers=HEADERS)


def may_read(request: Request) -> bool:
    """Whether the viewer may see what is inside."""
    return request.scope.get("watcher_access") is not None


def may_write(request: Request) -> bool:
    """Whether the viewer may change anything."""
    access: int | None = request.scope.get("watcher_access")
    return access is not None and access >= Scope.WRITE.rank


def is_part(request: Request) -> bool:
    """Whether htmx asks, for a part of a page, rather than the browser for the whole."""
    return "hx-request" in request.headers


async def publish_change(request: Request, session: AsyncSession) -> None:
    """Commit, and have every page that is opened from now on show what changed: no view from before is."""
    await session.commit()
    request.app.state.board.forget()


def back_to(request: Request, url: str) -> Response:
    """What a form answers once its change is made: the page to go to, whoever sent it."""
    redirect = RedirectResponse(url, status_code=303)
    if is_part(request):
        # Quoted as there: what a form says of where to go may hold the end of a line, or what no header can.
        return Response(status_code=204, headers={"HX-Redirect": redirect.headers["location"]})
    return redirect
