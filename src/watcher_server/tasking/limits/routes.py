"""Rate limits over HTTP."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, Field

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import RequestBody, ResponseBody
from watcher_server.settings import RateLimit, rate_per_second
from watcher_server.tasking.limits import service as limits
from watcher_server.tasking.limits.service import TaskLimit, limit_text

# A limit per second, shown as settings write it.
LimitText = Annotated[str, BeforeValidator(limit_text)]

router = APIRouter(route_class=JsonRoute, tags=["queues"])

_UNKNOWN_TASK: dict[int | str, dict[str, Any]] = {404: {"description": "No task of this name has a rate limit."}}


class RateLimitPut(RequestBody):
    """A limit to hold for a while: ``15/s``, ``90/m``, ``500/h``, or ``none`` for no limit."""

    limit: RateLimit
    minutes: Annotated[int, Field(ge=1, le=1440)] = 60


class RateLimitResponse(ResponseBody):
    """A task's limit as configured and as it holds now, both as in settings.

    ``until`` is when the configured one holds again; null while it does.
    """

    task: str
    configured: LimitText
    in_force: LimitText
    until: datetime | None


@router.get("/rate-limits", response_model=list[RateLimitResponse])
async def list_rate_limits(request: Request, session: Session) -> list[TaskLimit]:
    """How fast tasks may start, in the whole cluster."""
    return await (await session.connection()).run_sync(limits.list_limits, request.app.state.settings)


@router.put("/rate-limits/{task}", response_model=RateLimitResponse, responses=_UNKNOWN_TASK)
async def put_rate_limit(task: str, body: RateLimitPut, request: Request, session: Session) -> TaskLimit:
    """Have another limit hold for a while, such as during a backfill."""
    connection = await session.connection()
    per_second = rate_per_second(body.limit)
    return await connection.run_sync(limits.override_limit, request.app.state.settings, task, per_second, body.minutes)


@router.delete("/rate-limits/{task}", status_code=204, responses=_UNKNOWN_TASK)
async def delete_rate_limit(task: str, request: Request, session: Session) -> None:
    """Have the configured limit hold again."""
    connection = await session.connection()
    await connection.run_sync(limits.reset_limit, request.app.state.settings, task)
