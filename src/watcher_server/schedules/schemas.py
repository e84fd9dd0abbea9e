"""The HTTP shape of a schedule check, and the fields of a schedule."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from watcher_server.kit.fields import ResponseBody
from watcher_server.schedules.cron import find_zone, parse_expression

_A_WEEK_IN_MINUTES = 10_080

CronExpression = Annotated[str, StringConstraints(max_length=100), AfterValidator(parse_expression)]
ZoneName = Annotated[str, StringConstraints(max_length=50), AfterValidator(find_zone)]
GraceMinutes = Annotated[int, Field(ge=0, le=_A_WEEK_IN_MINUTES)]


class ScheduleCheckQueued(ResponseBody):
    """The check will run as soon as a worker takes it."""

    status: Literal["queued"] = "queued"
