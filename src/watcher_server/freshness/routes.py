"""The freshness check over HTTP."""

from fastapi import APIRouter, Request

from watcher_server.freshness import service
from watcher_server.freshness.schemas import FreshnessCheckQueued
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session

router = APIRouter(route_class=JsonRoute, tags=["checks"])


@router.post("/freshness")
async def check_freshness(session: Session, request: Request) -> FreshnessCheckQueued:
    """Have the freshness of every pipeline checked now."""
    await service.queue_freshness_check(session)
    request.app.state.relay.wake()
    return FreshnessCheckQueued()
