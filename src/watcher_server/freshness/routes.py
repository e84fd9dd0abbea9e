"""The freshness check over HTTP."""

from fastapi import APIRouter, Request

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.incidents.checks import CheckQueued
from watcher_server.tasking.sending.outbox import enqueue_async
from watcher_server.tasking.wire import SCHEDULED_QUEUE

router = APIRouter(route_class=JsonRoute, tags=["checks"])


@router.post("/freshness")
async def check_freshness(session: Session, request: Request) -> CheckQueued:
    """Have the freshness of every pipeline checked now."""
    await enqueue_async(session, "freshness_check_task", SCHEDULED_QUEUE)
    request.app.state.relay.wake()
    return CheckQueued()
