"""The timeliness check over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.incidents.checks import CheckQueued
from watcher_server.kit.fields import INT_MAX, RequestBody
from watcher_server.tasking.sending.outbox import enqueue_async
from watcher_server.tasking.wire import SCHEDULED_QUEUE

router = APIRouter(route_class=JsonRoute, tags=["checks"])


class TimelinessCheck(RequestBody):
    """How far back to look for executions, in minutes."""

    lookback_minutes: Annotated[int, Field(ge=5, le=INT_MAX)] = 60


@router.post("/timeliness")
async def check_timeliness(session: Session, request: Request, body: TimelinessCheck | None = None) -> CheckQueued:
    """Have the executions that started or ended within the lookback, and all running ones, checked now."""
    lookback = (body or TimelinessCheck()).lookback_minutes
    await enqueue_async(session, "timeliness_check_task", SCHEDULED_QUEUE, lookback_minutes=lookback)
    request.app.state.relay.wake()
    return CheckQueued()
