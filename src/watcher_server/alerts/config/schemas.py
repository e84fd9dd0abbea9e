"""The shapes of routes, calendars and windows, in the file and over HTTP."""

from datetime import date, datetime
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from watcher_server.alerts.config.fields import (
    Duration,
    LevelMatch,
    LongDuration,
    ObjectName,
    OneOrMany,
    Shape,
    Text,
    TimeOfDay,
    Weekly,
    parse_duration,
)
from watcher_server.alerts.kinds import Kind
from watcher_server.kit.fields import UtcDatetime
from watcher_server.schedules.cron import find_zone, parse_expression

DEFAULT = "default"
MOST_LISTED = 100

Zone = Annotated[str, StringConstraints(max_length=50), AfterValidator(find_zone)]
GroupKey = Literal["root", "owner", "tag", "type", "pipeline", "kind"]
ROOT: Final[GroupKey] = "root"
_Texts = Annotated[list[Text], OneOrMany, Field(min_length=1, max_length=MOST_LISTED)]

# A channel is told once, however often a route names it.
_Names = Annotated[
    list[ObjectName], OneOrMany, Field(max_length=20), AfterValidator(lambda names: list(dict.fromkeys(names)))
]


class Match(Shape):
    """What an alert is about. Every field that is given has to match, by one of its values; none matches everything.

    ``pipeline`` and ``type`` are globs (``*`` and ``?``), whatever the case. ``kind`` is that of the incident.
    """

    owner: _Texts | None = None
    tag: _Texts | None = None
    type: _Texts | None = None
    pipeline: _Texts | None = None
    kind: Annotated[list[Kind], OneOrMany, Field(min_length=1)] | None = None
    level: LevelMatch | None = None


class Hours(Shape):
    """When a route speaks: inside the calendar. ``outside`` of it, messages are held until it opens, or dropped.

    Those whose level is ``exception`` (``except`` in the file) or worse pass at any hour.
    """

    calendar: ObjectName
    outside: Literal["hold", "drop"] = "hold"
    exception: Annotated[LevelMatch | None, Field(alias="except")] = None


class Escalation(Shape):
    """Whom to tell too when nobody has acknowledged an incident that long after it was told."""

    after: Duration
    to: Annotated[_Names, Field(min_length=1)]


class Digest(Shape):
    """When in the day everything that was gathered is told in one message."""

    at: TimeOfDay
    zone: Zone = "UTC"


class RouteSpec(Shape):
    """Who is told of what matches. The first route that matches takes the alert, and with ``continue`` the next too.

    ``repeat``: how often what is open is told again, never while it is acknowledged. ``updates``: whether changes
    between opening and resolution are told not at all, in the thread of the first message, or each by itself.
    ``fallback`` is the channel that is told when one of ``to`` is broken.
    """

    match: Match = Match()
    to: Annotated[_Names, Field(min_length=1)]
    continue_: Annotated[bool, Field(alias="continue")] = False
    group_by: Annotated[list[GroupKey], OneOrMany, Field(max_length=6)] = Field(default_factory=lambda: [ROOT])
    group_wait: Duration = parse_duration("30s")
    repeat: LongDuration | None = None
    updates: Literal["none", "thread", "all"] = "thread"
    hours: Hours | None = None
    escalate: Annotated[list[Escalation], Field(max_length=5)] = Field(default_factory=list)
    digest: Digest | None = None
    fallback: ObjectName | None = None

    @property
    def channels(self) -> list[str]:
        """Every channel that the route names, each once."""
        named = [*self.to, *(name for step in self.escalate for name in step.to)]
        return list(dict.fromkeys([*named, self.fallback] if self.fallback else named))


class Route(RouteSpec):
    """A route with its name, as the file has it."""

    name: ObjectName


class CalendarSpec(Shape):
    """Hours of the week in a time zone, without the days of ``exceptions`` (``except`` in the file)."""

    zone: Zone
    weekly: Annotated[list[Weekly], OneOrMany, Field(min_length=1, max_length=50)]
    exceptions: Annotated[list[date], Field(alias="except", max_length=1_000)] = Field(default_factory=list)


class Calendar(CalendarSpec):
    """A calendar with its name."""

    name: ObjectName


class WindowSpec(Shape):
    """When what matches is quiet: at each moment of ``cron`` for ``duration``, or once, ``from`` until ``until``.

    Without ``from`` it has begun, and without ``until`` it does not end. ``hold`` records what is found and says it
    at the end, as far as it still holds; with ``skip`` runs that are due inside are not expected at all.
    """

    match: Match
    mode: Literal["hold", "skip"] = "hold"
    cron: Annotated[str, StringConstraints(max_length=100), AfterValidator(parse_expression)] | None = None
    duration: LongDuration | None = None
    zone: Zone = "UTC"
    since: Annotated[UtcDatetime | None, Field(alias="from")] = None
    until: UtcDatetime | None = None
    note: Text | None = None

    @model_validator(mode="after")
    def _check_when(self) -> Self:
        if (self.cron is None) != (self.duration is None):
            raise ValueError("cron and duration go together")
        if self.cron and (self.since or self.until):
            raise ValueError("a window has either cron and duration, or from and until")
        if self.since and self.until and self.until <= self.since:
            raise ValueError("until must come after from")
        if self.match == Match():
            raise ValueError('match must name what is quiet; pipeline "*" is every pipeline')
        return self

    def is_over(self, now: datetime) -> bool:
        """Whether its end has come."""
        return self.until is not None and self.until <= now


class Window(WindowSpec):
    """A window with its name, as the file has it."""

    name: ObjectName


# What applies where no route is stored: everything to the channel that the settings give.
DEFAULT_ROUTE = Route(name=DEFAULT, to=[DEFAULT])
