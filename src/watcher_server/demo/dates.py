"""How the days of 2013 are moved so that the year, or a day of it, ends now."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

# The runs of a night, in UTC of the day after the flights. A pipeline always starts in the same hour, because an
# execution is only compared with earlier ones of its hour.
REFERENCE_LOADS_AT = time(1, 0)
FLIGHT_LOADS_AT = time(2, 0)
MARTS_AT = time(2, 30)
NIGHT_IS_OVER_AT = timedelta(hours=3)


@dataclass(frozen=True)
class ReplayDates:
    """The number of days between a day of 2013 and the day it is replayed as."""

    shift: timedelta

    def moved(self, day: date) -> date:
        return day + self.shift

    def night_after(self, day: date, at: time) -> datetime:
        """When the run at ``at`` (UTC) that loads the flights of ``day`` starts."""
        return datetime.combine(self.moved(day) + timedelta(days=1), at, UTC)

    def is_over(self, day: date, now: datetime) -> bool:
        """Whether the night that loads the flights of ``day`` is over at ``now``."""
        return self.moved(day) < latest_night(now)


def latest_night(now: datetime) -> date:
    """The day (UTC) of the latest night that is over at ``now``."""
    return (now.astimezone(UTC) - NIGHT_IS_OVER_AT).date()


def dates_ending_before(now: datetime, day: date) -> ReplayDates:
    """Dates by which the flights of ``day`` are loaded in the latest night that is over at ``now``."""
    return ReplayDates(shift=latest_night(now) - (day + timedelta(days=1)))
