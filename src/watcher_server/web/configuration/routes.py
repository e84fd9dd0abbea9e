"""The settings page."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import list_tokens
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.settings import Settings
from watcher_server.tasking.limits.service import limit_text, list_limits
from watcher_server.web.configuration import reading
from watcher_server.web.configuration.values import shown_settings
from watcher_server.web.pages import render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/ui/settings")
async def show_settings(request: Request, session: Session) -> HTMLResponse:
    """The settings in force. The page changes nothing and shows no secret."""
    settings: Settings = request.app.state.settings
    access: int | None = request.scope.get("watcher_access")
    is_admin = access is not None and access >= Scope.ADMIN.rank
    connection = await session.connection()
    return render(
        request,
        "configuration/index.html",
        groups=shown_settings(settings),
        schedules=reading.read_schedules(settings),
        limits=await connection.run_sync(list_limits, settings),
        limit_text=limit_text,
        versions=await reading.read_versions(session, settings),
        tokens=await connection.run_sync(list_tokens) if is_admin else None,
    )
