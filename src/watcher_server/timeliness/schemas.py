"""The HTTP shapes of a timeliness check."""

from typing import Annotated, Literal

from pydantic import Field

from watcher_server.kit.fields import INT_MAX, RequestBody, ResponseBody


class TimelinessCheck(RequestBody):
    """How far back to look for executions, in minutes."""

    lookback_minutes: Annotated[int, Field(ge=5, le=INT_MAX)] = 60


class TimelinessCheckQueued(ResponseBody):
    """The check will run as soon as a worker takes it."""

    status: Literal["queued"] = "queued"
