"""The next run that is expected of a pipeline whose schedule has changed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfoNotFoundError

from watcher_server.kit.errors import InvalidFieldError
from watcher_server.schedules.cron import Schedule


class Scheduled(Protocol):
    """What decides when a pipeline is expected to run."""

    schedule: Any
    schedule_timezone: Any
    schedule_grace_minutes: Any
    active: Any


def plan_new(values: Mapping[str, Any]) -> dict[str, Any]:
    """The first expected run, for the columns of a pipeline that is created now."""
    return {"expected_next_run": _first_run(values.get("schedule"), values.get("schedule_timezone", "UTC"))}


def plan_change(pipeline: Scheduled, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The further columns that change with these; none when the schedule stays as it was.

    A new schedule, zone or grace counts from now on, and so does the schedule of a pipeline that is active again:
    what was due before is forgotten. An inactive pipeline expects no run.
    """
    before = (pipeline.schedule, pipeline.schedule_timezone, pipeline.schedule_grace_minutes, pipeline.active)
    fields = ("schedule", "schedule_timezone", "schedule_grace_minutes", "active")
    after = tuple(changes.get(field, value) for field, value in zip(fields, before, strict=True))
    if after == before:
        return {}
    schedule, zone, _, active = after
    if schedule is None:
        return {"expected_next_run": None, "last_missed_run": None, "due_since": None}
    return {"expected_next_run": _first_run(schedule, zone) if active else None, "due_since": None}


def next_run(schedule: str | None, zone: str, expected: datetime | None) -> datetime | None:
    """The next run, which is not in the past, of a pipeline of which one is ``expected`` that may be due since.

    None when there is none, or this machine lacks the zone.
    """
    now = datetime.now(UTC)
    if schedule is None or expected is None or expected > now:
        return expected
    try:
        # Runs are at full minutes, and from the same minute the schedule remembers what it found.
        return Schedule(schedule, zone).first_after(now.replace(second=0, microsecond=0))
    except ZoneInfoNotFoundError:
        return None


def _first_run(schedule: str | None, zone: str) -> datetime | None:
    """The first run after now, if there is a schedule.

    Raises:
        InvalidFieldError: the zone was stored by a machine that knows more of them than this one.
    """
    try:
        return None if schedule is None else Schedule(schedule, zone).first_after(datetime.now(UTC))
    except ZoneInfoNotFoundError:
        raise InvalidFieldError(
            "schedule_timezone", f"{zone} is no time zone that this server knows; send another with the schedule"
        ) from None
