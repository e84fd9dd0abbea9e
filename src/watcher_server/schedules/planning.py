"""What is expected of a pipeline after its schedule has changed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

from watcher_server.kit.errors import InvalidFieldError
from watcher_server.pipelines.models import Pipeline
from watcher_server.schedules.cron import Schedule

_DEFAULT_ZONE = "UTC"


def plan_new(values: Mapping[str, Any]) -> dict[str, Any]:
    """The first expected run, for the columns of a pipeline that is created now."""
    return {"expected_next_run": _first_run(values.get("schedule"), values.get("schedule_timezone", _DEFAULT_ZONE))}


def plan_change(pipeline: Pipeline, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that these changes of a pipeline carry along; none when they leave its schedule as it was.

    A new schedule, zone or grace counts from now on, and so does one of a pipeline that is active again; of a pipeline
    that is not active, nothing is expected.
    """
    before = (pipeline.schedule, pipeline.schedule_timezone, pipeline.schedule_grace_minutes, pipeline.active)
    fields = ("schedule", "schedule_timezone", "schedule_grace_minutes", "active")
    after = tuple(changes.get(field, value) for field, value in zip(fields, before, strict=True))
    if after == before:
        return {}
    schedule, zone, _, active = after
    if schedule is None:
        return {"expected_next_run": None, "last_missed_run": None}
    return {"expected_next_run": _first_run(schedule, zone) if active else None}


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
