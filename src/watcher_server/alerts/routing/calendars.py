"""Hours of the week in a time zone: whether a calendar is open, and when it opens next."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from watcher_server.alerts.config.fields import parse_weekly
from watcher_server.alerts.config.schemas import CalendarSpec, Digest

# A calendar whose every day for so long is an exception is taken for one that does not open.
_DAYS_AHEAD = 370
_parse = lru_cache(1024)(parse_weekly)


class Span(NamedTuple):
    """From ``begins`` until just before ``ends``, in UTC; without an end while ``ends`` is None."""

    begins: datetime
    ends: datetime | None

    def holds(self, moment: datetime) -> bool:
        """Whether the moment lies in it."""
        return self.begins <= moment and (self.ends is None or moment < self.ends)


def is_open(calendar: CalendarSpec, moment: datetime) -> bool:
    """Whether the moment lies in the hours of the calendar."""
    today = moment.astimezone(ZoneInfo(calendar.zone)).date()
    # Hours that pass midnight belong to the day on which they begin, also in its exceptions.
    days = (today - timedelta(days=1), today)
    return any(span.holds(moment) for day in days for span in _spans(calendar, day))


def next_opening(calendar: CalendarSpec, moment: datetime) -> datetime | None:
    """When the calendar is open next (UTC): the moment itself while it is; None when it does not open within a year."""
    if is_open(calendar, moment):
        return moment
    today = moment.astimezone(ZoneInfo(calendar.zone)).date()
    for number in range(_DAYS_AHEAD):
        found = [span.begins for span in _spans(calendar, today + timedelta(days=number)) if span.begins > moment]
        if found:
            return min(found)
    return None


def next_digest(digest: Digest, moment: datetime) -> datetime:
    """The first moment of a digest after that one (UTC)."""
    zone = ZoneInfo(digest.zone)
    today = moment.astimezone(zone).date()
    hour, minute = (int(part) for part in digest.at.split(":"))
    days = (today + timedelta(days=number) for number in range(-1, 3))
    return next(at for day in days if (at := _on_the_wall(day, hour * 60 + minute, zone)) > moment)


def _spans(calendar: CalendarSpec, day: date) -> Iterator[Span]:
    """The hours that begin on a day."""
    if day in calendar.exceptions:
        return
    zone = ZoneInfo(calendar.zone)
    for hours in map(_parse, calendar.weekly):
        if day.weekday() in hours.days:
            last = day if hours.end > hours.start else day + timedelta(days=1)
            span = Span(_on_the_wall(day, hours.start, zone), _on_the_wall(last, hours.end, zone))
            # Hours that daylight saving leaves out as a whole are none.
            if span.ends is not None and span.begins < span.ends:
                yield span


def _on_the_wall(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """When the clocks of the zone show that time (UTC).

    One that daylight saving leaves out is the moment at which it begins; of one that comes twice it is the first.
    """
    wall = datetime.combine(day + timedelta(days=minutes // 1440), time(minutes % 1440 // 60, minutes % 60))
    first = wall.replace(tzinfo=zone).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    # By the clock of before (fold 0) it would be later than the change by as much as it lies in the gap, and by that of
    # after (fold 1) it is earlier: the end of the gap lies between the two.
    low, high = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), first
    offset = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == offset else (low, middle)
    return high.replace(microsecond=0)
