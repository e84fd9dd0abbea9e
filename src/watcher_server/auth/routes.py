"""``GET /whoami``: who the server takes the sender of a request for."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from watcher_server.auth.callers import LOOPBACK, caller_of
from watcher_server.http.body import JsonRoute

router = APIRouter(route_class=JsonRoute, tags=["health"])


class WhoAmI(BaseModel):
    """Who sends the request."""

    name: str = Field(description="The person, or the name of the token; `loopback` where nothing has to be shown.")
    kind: Literal["token", "session", "header", "loopback"]
    scope: Literal["read", "write", "admin"]
    role: Literal["viewer", "editor", "admin"]
    expires_at: datetime | None = Field(description="When the token or the session ends by itself (UTC).")


@router.get("/whoami")
async def show_caller(request: Request) -> WhoAmI:
    """Who you are here, and what you may do."""
    caller = caller_of(request) or LOOPBACK
    return WhoAmI.model_validate({**vars(caller), "scope": caller.scope.value, "role": caller.scope.role})
