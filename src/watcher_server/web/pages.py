"""Rendering pages: templates and the headers that go with every page."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from watcher_server import __version__
from watcher_server.auth.access import may_administer, may_write
from watcher_server.auth.callers import caller_of
from watcher_server.web import filters
from watcher_server.web.assets import asset
from watcher_server.web.navigation import SECTIONS

_TEMPLATES = Path(__file__).parent / "templates"

# Nothing from other hosts, and no inline script or style. Charts are saved from blobs.
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
    "exact_duration": filters.exact_duration,
    "when": filters.when,
    "ago": filters.ago,
    "clock": filters.clock,
}
_environment.globals |= {"version": __version__, "asset": asset, "sections": SECTIONS}


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """The page as an answer.

    Besides the given context a template knows ``path``, ``query_string``, ``caller`` (who looks at it; None for a
    stranger), ``may_write`` (whether they may change anything), ``may_administer`` (also what is for administrators),
    ``broken_channels`` and ``ending_tokens`` (their names), ``error`` (None unless given) and the globals ``asset``,
    ``version`` and ``sections``.
    """
    context.setdefault("error", None)
    page = _environment.get_template(template).render(
        path=request.url.path,
        query_string=request.url.query,
        caller=caller_of(request),
        may_write=may_write(request),
        may_administer=may_administer(request),
        ending_tokens=request.app.state.token_book.ending_soon() if may_administer(request) else (),
        broken_channels=getattr(request.state, "broken_channels", ()),
        **context,
    )
    return HTMLResponse(page, status_code=status_code, headers=HEADERS)


def is_part(request: Request) -> bool:
    """Whether htmx asks for a part of a page, and not the browser for the whole page."""
    return "hx-request" in request.headers


def back_to(request: Request, url: str) -> Response:
    """The answer to a form whose change is made: the page to go to, for a browser or for htmx."""
    redirect = RedirectResponse(url, status_code=303)
    if is_part(request):
        # RedirectResponse has quoted the URL: a form may send line ends and characters that no header can hold.
        return Response(status_code=204, headers={"HX-Redirect": redirect.headers["location"]})
    return redirect
