"""The days that count for a pipeline: weekdays, such as ``mon-fri``."""

from typing import Final

from watcher_server.schedules.cron import ScheduleError

_FULL_NAMES: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAYS: Final = {name: full[:3] for full in _FULL_NAMES for name in (full, full[:3])}


def parse_weekdays(text: str) -> str:
    """The weekdays as they are stored: days and ranges of days, ``mon-thu,sat``; a range may go over Sunday.

    Raises:
        ScheduleError: a part is no weekday.
    """
    parts = "".join(text.lower().split()).split(",")
    return ",".join("-".join(_weekday(day) for day in part.split("-", 1)) for part in parts)


def _weekday(name: str) -> str:
    if name not in _WEEKDAYS:
        raise ScheduleError('must be weekdays such as "mon-fri" or "mon,wed,fri"; there is no other calendar')
    return _WEEKDAYS[name]
