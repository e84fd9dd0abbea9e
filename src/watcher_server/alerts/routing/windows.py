"""When windows are: the span that a moment lies in, and the next one."""

from datetime import UTC, datetime, timedelta

from watcher_server.alerts.config.schemas import WindowSpec
from watcher_server.alerts.routing.calendars import Span
from watcher_server.schedules.cron import Schedule

_ALWAYS = datetime.min.replace(tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
# Occurrences that overlap are one span; one that never ends is found out after so many.
_MOST_CHAINED = 1_000


def span_at(window: WindowSpec, moment: datetime) -> Span | None:
    """The span of the window that the moment lies in; None when it lies in none.

    A window by cron begins as a scheduled run does, also when daylight saving begins or ends, and lasts as long as its
    duration on any clock.
    """
    if window.cron is None or window.duration is None:
        once = Span(window.since or _ALWAYS, window.until)
        return once if once.holds(moment) else None
    begun = next(Schedule(window.cron, window.zone).runs(moment - window.duration + _INSTANT, moment), None)
    return None if begun is None else Span(begun, _end(window, begun))


def next_span(window: WindowSpec, moment: datetime) -> Span | None:
    """The span that begins next after the moment; None when none does."""
    if window.cron is None or window.duration is None:
        begins = window.since or _ALWAYS
        return Span(begins, window.until) if begins > moment else None
    begins_next = Schedule(window.cron, window.zone).first_after(moment)
    return None if begins_next is None else Span(begins_next, _end(window, begins_next))


def _end(window: WindowSpec, begun: datetime) -> datetime:
    """When the span ends: occurrences that begin before the one before is over prolong it."""
    duration = window.duration or timedelta()
    schedule = Schedule(window.cron or "", window.zone)
    last = begun
    for _ in range(_MOST_CHAINED):
        later = schedule.first_after(last)
        if later is None or later > last + duration:
            break
        last = later
    return last + duration


def spans_between(window: WindowSpec, since: datetime, until: datetime) -> list[Span]:
    """The spans of the window that touch the time between two moments, the latest thousand at most."""
    if window.cron is None or window.duration is None:
        once = Span(window.since or _ALWAYS, window.until)
        touches = once.begins <= until and (once.ends is None or once.ends > since)
        return [once] if touches else []
    schedule = Schedule(window.cron, window.zone)
    begun, _ = schedule.latest_runs(since - window.duration + _INSTANT, until, _MOST_CHAINED)
    return [Span(begins, begins + window.duration) for begins in begun]
