"""The diagnostics page."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from watcher_server.diagnostics import service
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.queue_monitor.depths import measure_queues_async
from watcher_server.web.pages import render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/diagnostics")
async def show_diagnostics(request: Request, session: Session) -> HTMLResponse:
    """Database, broker and queues, as they are now."""
    state = request.app.state
    return render(
        request,
        "diagnostics.html",
        queues=await measure_queues_async(state.query_engine, state.settings),
        database=await service.describe_database(session),
        tables=await service.describe_tables(session),
    )
