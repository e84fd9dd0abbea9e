"""The answer at ``/``: the overview for a browser, a welcome for a program."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from watcher_server import __version__
from watcher_server.auth.access import may_read
from watcher_server.health.schemas import Welcome
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.web.login.page import show_form
from watcher_server.web.overview.routes import show_overview

router = APIRouter(route_class=JsonRoute, tags=["health"])

_LINKS = {
    "ui": "/ui",
    "docs": "/docs",
    "scalar": "/scalar",
    "openapi": "/openapi.json",
    "health": "/health/ready",
    "reporting": "/reporting",
    "lineage": "/lineage-graph",
    "diagnostics": "/diagnostics",
}


@router.get("/", response_model=Welcome)
async def welcome(request: Request, session: Session) -> Response:
    """The name, the version and the links of this server; for a browser the overview, or the login if it needs one."""
    if "text/html" not in request.headers.get("accept", ""):
        root = app_state(request).settings.root_path
        links = {name: root + path for name, path in _LINKS.items()}
        found = Welcome(name="Watcher", version=__version__, links=links)
        return JSONResponse(found.model_dump(), headers={"Vary": "Accept"})
    if not may_read(request):
        return show_form(request, "/ui")
    return await show_overview(request, session)
