"""Whether a run that is due was missed, has started, or may still start."""

import logging
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfoNotFoundError

from watcher_server.schedules.cron import Schedule
from watcher_server.schedules.windows import Window, find_windows, opens_at

logger = logging.getLogger(__name__)

# The smallest difference between two moments in the database.
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Due:
    """A pipeline whose next run was expected at ``expected_at`` (UTC), which is not in the future.

    ``current_as_of`` is when it last wrote or looked, ``due_since`` the first run that was due since, as far as known.
    ``skips`` says that its scheduler starts no run while another one is open.
    """

    id: int
    name: str
    schedule: str
    zone: str
    grace_minutes: int
    expected_at: datetime
    current_as_of: datetime
    due_since: datetime | None
    muted: bool
    skips: bool


@dataclass(frozen=True)
class Expected:
    """The expected runs that the check looks at, and how many earlier ones it leaves out."""

    due: Due
    windows: list[Window]
    left_out: int


@dataclass(frozen=True)
class Going:
    """A run that had started earlier and was open when another was expected; ``is_open`` says that it still is."""

    id: int
    start_date: datetime
    is_open: bool


@dataclass(frozen=True)
class Skipped:
    """The first run that was expected and not started because another one was open, which goes on."""

    expected_at: datetime
    going: Going


@dataclass(frozen=True)
class Decision:
    """The run that the pipeline expects next, and the runs that it missed before, the earliest first."""

    due: Due
    next_run: datetime | None
    missed: list[datetime]
    left_out: int
    due_since: datetime | None
    skipped: Skipped | None = None


def expected_runs(due: Due, now: datetime, limit: int) -> Expected | None:
    """The runs from the expected one until now; None when this machine lacks the zone.

    Of those whose grace is over the latest, of those that may still start the earliest; each up to the limit.
    """
    grace = timedelta(minutes=due.grace_minutes)
    may_start = max(due.expected_at, now - grace)
    try:
        schedule = Schedule(due.schedule, due.zone)
        over, left_out = schedule.latest_runs(due.expected_at, may_start - _INSTANT, limit)
        # Without any run the data of the zone has changed since: the stored moment is judged then.
        runs = (*over, *schedule.earliest_runs(may_start, now, limit)) or (due.expected_at,)
        return Expected(due, find_windows(schedule, grace, runs), left_out)
    except ZoneInfoNotFoundError:
        logger.error("This machine knows no time zone %s: pipeline %d is not checked.", due.zone, due.id)  # noqa: TRY400 - the sentence says it all
        return None


Moment = tuple[int, datetime]


def not_started(expected: Expected, now: datetime, seen: AbstractSet[Moment]) -> list[Window]:
    """The runs whose grace is over and that have not started; ``seen`` names those that have, by pipeline and moment.

    They go up to the first that may still start.
    """
    grace, found = timedelta(minutes=expected.due.grace_minutes), list[Window]()
    for window in expected.windows:
        if (expected.due.id, window.expected_at) in seen:
            continue
        if window.expected_at + grace >= now:
            break
        found.append(window)
    return found


def decide(
    expected: Expected, now: datetime, seen: AbstractSet[Moment], going: Mapping[Moment, Going] | None = None
) -> Decision:
    """What becomes of the pipeline; ``going`` has the run that was open when one was expected, where that matters.

    A muted pipeline misses nothing.
    """
    due, going = expected.due, going or {}
    grace = timedelta(minutes=due.grace_minutes)
    waiting = [window.expected_at for window in expected.windows if (due.id, window.expected_at) not in seen]
    next_run = next((moment for moment in waiting if moment + grace >= now), None)
    if next_run is None:
        next_run = Schedule(due.schedule, due.zone).first_after(expected.windows[-1].expected_at)
    due_since = _due_since(expected, next_run)
    if due.muted:
        return Decision(due, next_run, [], 0, due_since)
    over = [window.expected_at for window in not_started(expected, now, seen)]
    missed = [moment for moment in over if (due.id, moment) not in going]
    skipped = [Skipped(moment, going[due.id, moment]) for moment in over if (due.id, moment) in going]
    first = next((each for each in skipped if _is_first(due, grace, each)), None)
    return Decision(due, next_run, missed, expected.left_out, due_since, first)


def _is_first(due: Due, grace: timedelta, skipped: Skipped) -> bool:
    """Whether the run is open still, and this is the first expected one that did not start because of it."""
    schedule = Schedule(due.schedule, due.zone)
    before = schedule.last_before(skipped.expected_at)
    return skipped.going.is_open and (before is None or skipped.going.start_date >= opens_at(schedule, grace, before))


def _due_since(expected: Expected, next_run: datetime | None) -> datetime | None:
    """The first of the runs before the next one since which the pipeline has not written, however early one starts."""
    due = expected.due
    if due.due_since is not None and due.due_since > due.current_as_of:
        return due.due_since
    over = (window for window in expected.windows if next_run is None or window.expected_at < next_run)
    return next((window.expected_at for window in over if window.opens > due.current_as_of), None)
