"""The schedule check over HTTP."""

from fastapi import APIRouter, Request

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.schedules import service
from watcher_server.schedules.schemas import ScheduleCheckQueued

router = APIRouter(route_class=JsonRoute, tags=["checks"])


@router.post("/schedule_check")
async def check_schedules(session: Session, request: Request) -> ScheduleCheckQueued:
    """Have every schedule checked for missed runs now."""
    await service.queue_schedule_check(session)
    request.app.state.relay.wake()
    return ScheduleCheckQueued()
