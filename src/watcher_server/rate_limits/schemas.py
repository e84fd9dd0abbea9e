"""The HTTP shapes of rate limits."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from watcher_server.kit.fields import RequestBody, ResponseBody
from watcher_server.settings import RateLimit


class RateLimitPut(RequestBody):
    """A limit to hold for a while: ``15/s``, ``90/m``, ``500/h``, or ``none`` for no limit."""

    limit: RateLimit
    minutes: Annotated[int, Field(ge=1, le=1440)] = 60


class RateLimitResponse(ResponseBody):
    """A task's limit as configured and as it holds now, both as in settings.

    ``until`` is when the configured one holds again; null while it does.
    """

    task: str
    configured: str
    in_force: str
    until: datetime | None
