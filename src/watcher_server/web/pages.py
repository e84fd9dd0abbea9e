"""Rendering pages: templates and the headers that go with every page."""

import re
from asyncio import sleep
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from watcher_server import __version__
from watcher_server.auth.access import may_administer, may_write
from watcher_server.auth.callers import caller_of
from watcher_server.http.body import JsonRoute
from watcher_server.http.own_address import own_address
from watcher_server.http.state import app_state
from watcher_server.web import filters
from watcher_server.web.assets import asset
from watcher_server.web.writing import WritingCodeGenerator, write


@dataclass(frozen=True)
class Section:
    """A page in the navigation; pages whose path begins as one in ``below`` belong to it."""

    href: str
    label: str
    icon: str
    below: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether the page at this path belongs to this section."""
        return path == self.href or any(path.startswith(prefix) for prefix in self.below)


SECTIONS = (
    Section("/ui", "Overview", "overview"),
    Section("/ui/incidents", "Incidents", "incidents", ("/ui/incidents/", "/ui/alerts")),
    Section("/ui/pipelines", "Pipelines", "pipelines", ("/ui/pipelines/", "/ui/executions/", "/ui/archive")),
    Section("/lineage-graph", "Lineage", "lineage"),
    Section("/ui/sources", "Sources", "sources", ("/ui/sources/",)),
    Section("/ui/anomalies", "Anomalies", "anomalous"),
    Section("/ui/channels", "Alerting", "alerts", ("/ui/channels/", "/ui/routes", "/ui/windows")),
    Section("/reporting", "Reporting", "reporting"),
    Section("/ui/tasks", "Tasks", "tasks", ("/ui/tasks/",)),
    Section("/diagnostics", "Diagnostics", "diagnostics"),
    Section("/ui/settings", "Settings", "settings", ("/ui/audit",)),
    Section("/ui/documentation", "Documentation", "documentation", ("/ui/documentation/",)),
)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    # The same address answers a page, or a part of it to htmx.
    "Vary": "HX-Request, Accept, Cookie",
}

# The attributes of our pages that hold an address: what a browser, htmx or a script of ours follows.
LINKING = (
    *("href", "src", "action", "formaction", "hx-get", "hx-post", "hx-push-url"),
    *("data-icons", "data-openapi", "data-report", "data-search"),
)
_OWN_LINK = re.compile(rf"""(\s(?:{"|".join(LINKING)})=["'])(?=/(?!/))""")


class _Environment(Environment):
    code_generator_class = WritingCodeGenerator
    write = staticmethod(write)


_environment = _Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    each.__name__: each
    for each in (
        *(filters.count, filters.size, filters.percent, filters.duration, filters.exact_duration),
        *(filters.when, filters.ago, filters.clock, filters.breakable, filters.linked),
    )
}
_environment.globals |= {"version": __version__, "asset": asset, "sections": SECTIONS}


def page_router() -> APIRouter:
    """A router of pages, which are no part of the API's document."""
    return APIRouter(route_class=JsonRoute, include_in_schema=False)


# Between the parts of a page that are sent one after the other; no text that is stored holds it.
_FLUSH = "\0"


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """The page as an answer.

    Templates name a page as if Watcher had the host to itself, ``/ui``; the path that it has there is put before each.

    Besides the given context a template knows ``path``, ``query_string``, ``root`` (the path on the host), ``server``
    (the address for programs), ``token_header`` (what lines of curl need to be let in there), ``caller`` (who looks at
    it; None for a stranger), ``may_write`` (whether they may change anything), ``may_administer`` (also what is for
    administrators), ``broken_channels`` and ``ending_tokens`` (their names), ``error`` (None unless given) and the
    globals ``asset``, ``version`` and ``sections``.
    """
    known = _known(request, context)
    page = _environment.get_template(template).render(flush="", **known)
    return HTMLResponse(_link(page, known["root"]), status_code=status_code, headers=HEADERS)


def render_in_parts(request: Request, template: str, **context: Any) -> StreamingResponse:
    """The page as :func:`render` writes it, but what comes before ``{{ flush }}`` is sent before the rest is written.

    The rest must need nothing of the database any more.
    """
    known = _known(request, context)
    parts = _write_parts(_environment.get_template(template), known)
    # An error in the first part is still an answer of its own.
    first = next(parts)

    async def send() -> AsyncIterator[str]:
        yield first
        # The server writes the first part to the socket before the rest is written.
        await sleep(0)
        for part in parts:
            yield part

    return StreamingResponse(send(), media_type="text/html; charset=utf-8", headers=HEADERS)


def _write_parts(template: Template, known: dict[str, Any]) -> Iterator[str]:
    written: list[str] = []
    for piece in template.generate(flush=_FLUSH, **known):
        if piece == _FLUSH:
            yield _link("".join(written), known["root"])
            written = []
        else:
            written.append(piece)
    yield _link("".join(written), known["root"])


def _link(page: str, root: str) -> str:
    # Texts of others hold no quotes here: Jinja has escaped them.
    return _OWN_LINK.sub(rf"\1{root}", page) if root else page


def _known(request: Request, context: dict[str, Any]) -> dict[str, Any]:
    # What a line of curl needs so that this server lets it in; nothing where it asks for no token.
    caller = caller_of(request)
    is_open = caller is None or caller.kind == "loopback"
    return {
        "path": request.url.path,
        "root": app_state(request).settings.root_path,
        "server": own_address(request),
        "token_header": "" if is_open else ' -H "Authorization: Bearer $WATCHER_TOKEN"',
        "query_string": request.url.query,
        "caller": caller,
        "may_write": may_write(request),
        "may_administer": may_administer(request),
        "ending_tokens": request.app.state.token_book.ending_soon() if may_administer(request) else (),
        "broken_channels": getattr(request.state, "broken_channels", ()),
        "error": None,
        **context,
    }


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
