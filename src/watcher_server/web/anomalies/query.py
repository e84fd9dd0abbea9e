"""The state of the anomalies page, as its URL has it."""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from watcher_server.anomalies.events import EventFilter
from watcher_server.anomalies.schemas import MetricField
from watcher_server.kit.fields import Id, SearchText
from watcher_server.web.paging import FormQuery

# Within these, the day after a day exists too.
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(9000, 1, 1)

CLEARED = frozenset({"cleared", "metric_cleared", "rule_cleared", "cleared_at"})


class EventState(StrEnum):
    """Which events: those whose level is not accepted, those whose level is the new normal, or all."""

    OPEN = "open"
    ACCEPTED = "accepted"
    ALL = "all"


class AnomaliesView(FormQuery):
    """Which events the page shows.

    ``days`` are the last ones up to today, ``day`` is a single one; both in UTC, and of an event's latest run.
    ``pipeline`` is a part of a name. ``summary`` puts the summary on the page even where that takes long.
    """

    messages = CLEARED

    state: EventState = EventState.OPEN
    metric: MetricField | None = None
    pipeline: SearchText | None = None
    direction: Literal["high", "low"] | None = None
    days: Annotated[int, Field(ge=1, le=90)] = 30
    day: Annotated[date, Field(ge=_FIRST_DAY, le=_LAST_DAY)] | None = None
    page: Annotated[int, Field(ge=1, le=2_000)] = 1
    summary: bool = False
    # How many flags were just cleared, and which, for the page to offer the way back.
    cleared: Annotated[int, Field(ge=1)] | None = None
    metric_cleared: MetricField | None = None
    rule_cleared: Id | None = None
    cleared_at: AwareDatetime | None = None

    @property
    def is_narrowed(self) -> bool:
        """Whether more than the span of days and the state leaves events out."""
        return any((self.metric, self.pipeline, self.direction, self.day))

    @property
    def unflagged(self) -> int:
        """How many flags were just cleared and can be put back."""
        return self.cleared or 0 if self.metric_cleared and self.rule_cleared and self.cleared_at else 0

    def period(self) -> list[date]:
        """The days up to today (UTC), the earliest first."""
        today = datetime.now(UTC).date()
        return [today - timedelta(days=days) for days in reversed(range(self.days))]

    def filter(self) -> EventFilter:
        """The events that the page shows."""
        period = self.period()
        first, last = (self.day, self.day) if self.day else (period[0], period[-1])
        return EventFilter(
            since=_midnight(first),
            until=_midnight(last + timedelta(days=1)),
            accepted=None if self.state is EventState.ALL else self.state is EventState.ACCEPTED,
            metric=self.metric and self.metric.value,
            direction=self.direction,
            pipeline=self.pipeline,
        )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
