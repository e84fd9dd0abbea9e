"""The settings page."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import list_tokens
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.settings import Settings
from watcher_server.web.configuration import reading
from watcher_server.web.configuration.values import shown_settings
from watcher_server.web.pages import render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/ui/settings")
async def show_settings(request: Request, session: Session) -> HTMLResponse:
    """What is in force here; nothing can be changed, and no secret is shown."""
    settings: Settings = request.app.state.settings
    is_admin = _is_admin(request)
    connection = await session.connection()
    return render(
        request,
        "configuration/page.html",
        groups=shown_settings(settings),
        schedules=reading.read_schedules(settings),
        limits=await reading.read_limits(session, settings),
        versions=await reading.read_versions(session, settings),
        tokens=await connection.run_sync(list_tokens) if is_admin else None,
    )


def _is_admin(request: Request) -> bool:
    access: int | None = request.scope.get("watcher_access")
    return access is not None and access >= Scope.ADMIN.rank
