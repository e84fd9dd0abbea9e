"""The diagnostics page."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from watcher_server.diagnostics import service
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.errors import UnavailableError
from watcher_server.queueing.monitor import QueueDepths, count_outbox, read_queue_depths
from watcher_server.web.pages import render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/diagnostics")
async def show_diagnostics(request: Request, session: Session) -> HTMLResponse:
    """Database, broker and queues, as they are now."""
    depths, broker_error = await _ask_broker(request.app.state.settings.broker)
    connection = await session.connection()
    return render(
        request,
        "diagnostics.html",
        database=await service.describe_database(session),
        tables=await service.describe_tables(session),
        outbox=await connection.run_sync(count_outbox),
        depths=depths,
        broker_error=broker_error,
    )


async def _ask_broker(broker_url: str) -> tuple[QueueDepths | None, str | None]:
    try:
        return await asyncio.to_thread(read_queue_depths, broker_url), None
    except UnavailableError as error:
        return None, str(error)
