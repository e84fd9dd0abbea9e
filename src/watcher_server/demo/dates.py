"""How the days of 2013 are moved, so that the year ends now."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from watcher_server.demo.data import LAST_DAY

# Each night's runs, in UTC of the day after the flights. Every pipeline starts in the same hour of every day,
# because an execution is compared with earlier ones of its hour only.
REFERENCE_LOADS_AT = time(1, 0)
FLIGHT_LOADS_AT = time(2, 0)
MARTS_AT = time(2, 30)
NIGHT_IS_OVER_AT = timedelta(hours=3)


@dataclass(frozen=True)
class ReplayDates:
    """The whole days that lie between a day of 2013 and the day it is replayed as."""

    shift: timedelta

    def moved(self, day: date) -> date:
        return day + self.shift

    def night_after(self, day: date, at: time) -> datetime:
        """When the run at ``at`` (UTC) that loads the flights of ``day`` starts."""
        return datetime.combine(self.moved(day) + timedelta(days=1), at, UTC)


def dates_ending_before(now: datetime) -> ReplayDates:
    """Dates by which the last flights of 2013 are loaded in the latest night that is over at ``now``."""
    latest_night = (now.astimezone(UTC) - NIGHT_IS_OVER_AT).date()
    return ReplayDates(shift=latest_night - (LAST_DAY + timedelta(days=1)))
