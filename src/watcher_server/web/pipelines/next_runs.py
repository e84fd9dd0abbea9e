"""The next runs of a schedule while it is typed, by the code that decides when a run is expected."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from watcher_server.schedules.cron import Schedule, ScheduleError, find_zone, parse_expression
from watcher_server.schedules.windows import find_windows

_LONGEST_GRACE = 10_080


@dataclass(frozen=True, slots=True)
class NextRun:
    """A run that will be expected, and when it will count as missed (UTC); ``local`` is the time of the schedule."""

    at: datetime
    missed_at: datetime
    local: str


@dataclass(frozen=True, slots=True)
class NextRuns:
    """The next five runs, or what is wrong with the ``field`` of that name; neither without a schedule."""

    runs: Sequence[NextRun] = ()
    field: str = ""
    error: str = ""


def read_next_runs(schedule: str, zone: str, grace: str) -> NextRuns:
    """What the typed schedule, time zone and grace in minutes mean."""
    if not schedule.strip():
        return NextRuns()
    field = "schedule"
    try:
        expression = parse_expression(schedule)
        field = "schedule_timezone"
        planned = Schedule(expression, find_zone(zone or "UTC"))
    except ScheduleError as error:
        return NextRuns(field=field, error=f"It {error}.")
    if not (grace.isascii() and grace.isdigit() and int(grace) <= _LONGEST_GRACE):
        return NextRuns(field="schedule_grace_minutes", error=f"It must be minutes, from 0 to {_LONGEST_GRACE:,}.")
    # Runs are at full minutes, and from the same minute the schedule remembers what it found.
    since = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    runs = planned.earliest_runs(since, datetime.max.replace(tzinfo=UTC), 5)
    local = ZoneInfo(planned.zone)
    found = [
        NextRun(window.expected_at, window.closes, f"{window.expected_at.astimezone(local):%a %Y-%m-%d %H:%M %Z}")
        for window in find_windows(planned, timedelta(minutes=int(grace)), runs)
    ]
    return NextRuns(found)


def known_zones() -> list[str]:
    """The names of time zones to choose from."""
    return sorted(name for name in available_timezones() if "/" in name or name == "UTC")
