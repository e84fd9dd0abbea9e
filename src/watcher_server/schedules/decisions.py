"""What becomes of a pipeline whose next run is due: missed, moved on, or waiting."""

import logging
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfoNotFoundError

from watcher_server.schedules.cron import Schedule
from watcher_server.schedules.windows import Window, find_windows

logger = logging.getLogger(__name__)

# The least that two moments of the database can differ by.
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Due:
    """A pipeline whose next run was expected at ``expected_at`` (UTC), which has come."""

    id: int
    name: str
    schedule: str
    zone: str
    grace_minutes: int
    expected_at: datetime
    muted: bool


@dataclass(frozen=True)
class Expected:
    """The runs that were expected by now and are looked at, and how many earlier ones are not."""

    due: Due
    windows: list[Window]
    left_out: int


@dataclass(frozen=True)
class Decision:
    """Where the pipeline moves to, and which of its runs were missed on the way, the earliest first."""

    due: Due
    next_run: datetime | None
    missed: list[datetime]
    left_out: int


def expected_runs(due: Due, now: datetime, limit: int) -> Expected | None:
    """The runs from the expected one until now; None when this machine lacks the zone.

    At most so many whose grace is over, the latest, and at most so many that may still start, the earliest.
    """
    try:
        return _expected_runs(due, now, limit)
    except ZoneInfoNotFoundError:
        logger.error("This machine knows no time zone %s: pipeline %d is not checked.", due.zone, due.id)  # noqa: TRY400 - the sentence says it all
        return None


def _expected_runs(due: Due, now: datetime, limit: int) -> Expected:
    schedule, grace = Schedule(due.schedule, due.zone), timedelta(minutes=due.grace_minutes)
    may_start = max(due.expected_at, now - grace)
    over, left_out = schedule.latest_runs(due.expected_at, may_start - _INSTANT, limit)
    # Only newer data of the zone can make that no run was expected, after all.
    runs = (*over, *schedule.earliest_runs(may_start, now, limit)) or (due.expected_at,)
    return Expected(due, find_windows(schedule, grace, runs), left_out)


def decide(expected: Expected, now: datetime, seen: AbstractSet[tuple[int, datetime]]) -> Decision:
    """Go through the runs until one that may still start; ``seen`` names those that have, by pipeline and moment.

    A muted pipeline misses nothing.
    """
    due, missed = expected.due, list[datetime]()
    grace = timedelta(minutes=due.grace_minutes)
    for window in expected.windows:
        if (due.id, window.expected_at) in seen:
            continue
        if window.expected_at + grace >= now:
            return _decision(expected, window.expected_at, missed)
        missed.append(window.expected_at)
    last = expected.windows[-1].expected_at
    return _decision(expected, Schedule(due.schedule, due.zone).first_after(last), missed)


def _decision(expected: Expected, next_run: datetime | None, missed: list[datetime]) -> Decision:
    due = expected.due
    return Decision(due, next_run, [] if due.muted else missed, 0 if due.muted else expected.left_out)
