"""Retention over HTTP."""

import asyncio

from fastapi import APIRouter, Request

from watcher_server.database.engine import sync_engine
from watcher_server.http.body import JsonRoute
from watcher_server.kit.errors import UnavailableError
from watcher_server.retention import service
from watcher_server.retention.schemas import CleanupRequest, CleanupResult

router = APIRouter(route_class=JsonRoute, tags=["maintenance"])


@router.post("/log_cleanup", responses={409: {"description": "Another cleanup is running."}})
async def clean_up_logs(body: CleanupRequest, request: Request) -> CleanupResult:
    """Delete what is older than the retention: finished executions and what hangs on them, logs, incidents, figures."""
    stopping: asyncio.Event = request.app.state.stopping
    # In a thread, for it is the code of the task, which waits. It sees the end of the api between two batches.
    done = await asyncio.to_thread(service.clean_up, sync_engine(), body, goes_on=lambda: not stopping.is_set())
    if not done.finished:
        raise UnavailableError("Watcher was stopped meanwhile: send it again, and it goes on where it was.")
    return CleanupResult(**done.counts)
