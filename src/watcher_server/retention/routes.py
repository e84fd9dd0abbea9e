"""Retention over HTTP."""

from fastapi import APIRouter, Request

from watcher_server.http.body import JsonRoute
from watcher_server.retention import service
from watcher_server.retention.schemas import CleanupRequest, CleanupResult

router = APIRouter(route_class=JsonRoute, tags=["maintenance"])


@router.post("/log_cleanup", responses={409: {"description": "Another cleanup is running."}})
async def clean_up_logs(body: CleanupRequest, request: Request) -> CleanupResult:
    """Delete what is older than the retention: finished executions, what hangs on them, and freshness logs."""
    return await service.clean_up(request.app.state.query_engine, body)
