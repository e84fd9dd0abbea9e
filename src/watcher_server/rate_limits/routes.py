"""Rate limits over HTTP."""

from typing import Any

from fastapi import APIRouter, Request

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.rate_limits import service as limits
from watcher_server.rate_limits.schemas import RateLimitPut, RateLimitResponse
from watcher_server.rate_limits.service import TaskLimit, limit_text
from watcher_server.settings import rate_per_second

router = APIRouter(route_class=JsonRoute, tags=["queues"])

_UNKNOWN_TASK: dict[int | str, dict[str, Any]] = {404: {"description": "No task of this name has a rate limit."}}


@router.get("/rate-limits")
async def list_rate_limits(request: Request, session: Session) -> list[RateLimitResponse]:
    """How fast tasks may start, in the whole cluster."""
    connection = await session.connection()
    found = await connection.run_sync(limits.list_limits, request.app.state.settings)
    return [_response(limit) for limit in found]


@router.put("/rate-limits/{task}", responses=_UNKNOWN_TASK)
async def put_rate_limit(task: str, body: RateLimitPut, request: Request, session: Session) -> RateLimitResponse:
    """Have another limit hold for a while, such as during a backfill."""
    connection = await session.connection()
    per_second = rate_per_second(body.limit)
    limit = await connection.run_sync(limits.override_limit, request.app.state.settings, task, per_second, body.minutes)
    return _response(limit)


@router.delete("/rate-limits/{task}", status_code=204, responses=_UNKNOWN_TASK)
async def delete_rate_limit(task: str, request: Request, session: Session) -> None:
    """Have the configured limit hold again."""
    connection = await session.connection()
    await connection.run_sync(limits.reset_limit, request.app.state.settings, task)


def _response(limit: TaskLimit) -> RateLimitResponse:
    return RateLimitResponse(
        task=limit.task,
        configured=limit_text(limit.configured),
        in_force=limit_text(limit.in_force),
        until=limit.until,
    )
