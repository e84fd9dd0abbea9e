"""The settings page."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from watcher_server.auth.access import may_administer
from watcher_server.auth.service import list_tokens
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.settings import Settings
from watcher_server.tasking.limits.service import limit_text, list_limits
from watcher_server.web.configuration import reading
from watcher_server.web.configuration.values import shown_settings
from watcher_server.web.pages import page_router, render

router = page_router()


@router.get("/ui/settings")
async def show_settings(request: Request, session: Session) -> HTMLResponse:
    """The settings in force. The page changes nothing and shows no secret."""
    settings: Settings = request.app.state.settings
    return render(
        request,
        "configuration/index.html",
        groups=shown_settings(settings),
        schedules=reading.read_schedules(settings),
        limits=await ask(session, list_limits, settings),
        limit_text=limit_text,
        versions=await reading.read_versions(session, settings),
        tokens=await ask(session, list_tokens) if may_administer(request) else None,
    )
