"""The timeliness check over HTTP."""

from fastapi import APIRouter, Request

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.timeliness import service
from watcher_server.timeliness.schemas import TimelinessCheck, TimelinessCheckQueued

router = APIRouter(route_class=JsonRoute, tags=["checks"])


@router.post("/timeliness")
async def check_timeliness(
    session: Session, request: Request, body: TimelinessCheck | None = None
) -> TimelinessCheckQueued:
    """Have the executions that started within the lookback, and all running ones, checked now."""
    check = body or TimelinessCheck()
    await service.queue_timeliness_check(session, check.lookback_minutes)
    request.app.state.relay.wake()
    return TimelinessCheckQueued()
