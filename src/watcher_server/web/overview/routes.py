"""The overview: is anything wrong, since when, what does it touch, what to do."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.web.overview import reading
from watcher_server.web.overview.timeline import WIDTH, read_timeline
from watcher_server.web.pages import is_part, render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/ui")
async def show_overview(request: Request, session: Session) -> HTMLResponse:
    """What needs somebody, the last 24 hours, the queues, the latest alerts."""
    settings = request.app.state.settings
    view = await request.app.state.board.read()
    attention = reading.needing_attention(view)
    return render(
        request,
        "overview/_live.html" if is_part(request) else "overview/index.html",
        view=view,
        attention=attention,
        wrong=await reading.describe_wrong(session, attention),
        timeline=await read_timeline(session, view),
        width=WIDTH,
        queues=await reading.read_queues(session, settings),
        workers=await reading.read_workers(session),
        alerts=await reading.read_latest_alerts(session),
    )
