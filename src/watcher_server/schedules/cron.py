"""When a cron expression comes true in a time zone, as Debian's cron has it.

A job at fixed hours runs once a day, whatever the clock does: one in the hour that daylight saving leaves out runs
when that hour would have begun, one in the hour that comes twice runs in the first. A job whose minute or hour begins
with a star follows the clock on the wall: nothing in the hour that is left out, twice in the one that comes twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

_FIELDS = 5
_REMEMBERED = 4096
_REMEMBERED_LISTS = 256
_DAY = timedelta(days=1)
# The least that two moments of the database can differ by.
_INSTANT = timedelta(microseconds=1)
# What depends on the machine it is read on.
_NO_ZONES = frozenset({"localtime", "Factory"})


class ScheduleError(ValueError):
    """No schedule can be made of it; the message says what would be one."""


@lru_cache(_REMEMBERED)
def parse_expression(text: str) -> str:
    """The expression as it is stored: upper case, one space between its five fields.

    Raises:
        ScheduleError: it is not five-field cron, or never comes true.
    """
    expression = " ".join(text.upper().split())
    if len(expression.split()) != _FIELDS:
        raise ScheduleError('must be five-field cron: minute, hour, day of month, month, day of week ("0 2 * * *")')
    if not _comes(expression):
        raise ScheduleError("must be a moment that comes: this one does not within fifty years")
    return expression


def _comes(expression: str) -> bool:
    minute, hour, day, _, weekday = expression.split()
    try:
        # CronSim says of a day that its month never has what it says of a misspelt one.
        CronSim(f"{minute} {hour} {day} * {weekday}", datetime.now(UTC))
    except CronSimError as error:
        raise ScheduleError(f'must be five-field cron such as "0 2 * * *" ({str(error).lower()})') from None
    try:
        return next(CronSim(expression, datetime.now(UTC)), None) is not None
    except CronSimError as error:
        if "month" in str(error) and "day" not in str(error):
            raise ScheduleError('must be five-field cron such as "0 2 * * *" (bad month)') from None
        return False


def find_zone(name: str) -> str:
    """The IANA name of a time zone, in its proper spelling.

    Raises:
        ScheduleError: there is no such zone.
    """
    zone = _zones().get(name.strip().lower())
    if zone is None:
        raise ScheduleError('must be the IANA name of a time zone, such as "Europe/Berlin" or "UTC"')
    return zone


@cache
def _zones() -> dict[str, str]:
    return {name.lower(): name for name in available_timezones() - _NO_ZONES}


@dataclass(frozen=True)
class Schedule:
    """A cron expression in a time zone. All moments that it takes and gives are in UTC."""

    expression: str
    zone: str

    def first_after(self, moment: datetime) -> datetime | None:
        """The first run after the moment; None when there is none within fifty years."""
        return _first_after(self, moment)

    def last_before(self, moment: datetime) -> datetime | None:
        """The last run before the moment; None when there is none within fifty years."""
        return _last_before(self, moment)

    def runs(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """The runs between two moments, both included, the earliest first."""
        last = since - _INSTANT
        for run in self._candidates(last):
            if run > until:
                return
            # Two fixed times in an hour that is left out are one run.
            if run > last:
                last = run
                yield run

    def earliest_runs(self, since: datetime, until: datetime, limit: int) -> Sequence[datetime]:
        """The earliest runs between two moments, both included, at most so many."""
        return _earliest_runs(self, since, until, limit)

    def latest_runs(self, since: datetime, until: datetime, limit: int) -> tuple[Sequence[datetime], int]:
        """The latest runs between two moments, both included, at most so many; and how many earlier ones there are.

        The earlier ones are counted by the day, so that years of runs every minute take a moment.
        """
        return _latest_runs(self, since, until, limit)

    def _find_latest(self, since: datetime, until: datetime, limit: int) -> tuple[Sequence[datetime], int]:
        found = self.earliest_runs(since, until, limit + 1)
        if len(found) <= limit:
            return found, 0
        day, counted = self._day_of(until), 0
        while counted < limit and day > self._day_of(since):
            day -= _DAY
            counted += self._count_day(day)
        latest = tuple(self.runs(max(since, self._midnight(day)), until))[-limit:]
        return latest, self._count(since, latest[0] - _INSTANT)

    def _count(self, since: datetime, until: datetime) -> int:
        first, last = self._day_of(since), self._day_of(until)
        whole = sum(self._count_day(first + number * _DAY) for number in range((last - first).days + 1))
        earlier = sum(1 for _ in self.runs(self._midnight(first), since - _INSTANT))
        later = sum(1 for _ in self.runs(until + _INSTANT, self._midnight(last + _DAY) - _INSTANT))
        return whole - earlier - later

    def _count_day(self, day: date) -> int:
        cron = _plain(self.expression)
        if day.month not in cron.months or not cron.match_day(day):
            return 0
        begin, end = self._midnight(day), self._midnight(day + _DAY)
        if end - begin == _DAY:
            return len(cron.minutes) * len(cron.hours)
        return sum(1 for _ in self.runs(begin, end - _INSTANT))

    def _candidates(self, moment: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        for found in CronSim(self.expression, moment.astimezone(ZoneInfo(self.zone)), reverse=reverse):
            run = found.astimezone(UTC)
            # CronSim begins a day at its midnight, which some zones leave out when daylight saving begins.
            if run.astimezone(found.tzinfo).replace(tzinfo=None) == found.replace(tzinfo=None):
                yield run

    def _day_of(self, moment: datetime) -> date:
        return moment.astimezone(ZoneInfo(self.zone)).date()

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), tzinfo=ZoneInfo(self.zone)).astimezone(UTC)


# Many pipelines share a schedule, and are due at the same moment.
@lru_cache(_REMEMBERED)
def _first_after(schedule: Schedule, moment: datetime) -> datetime | None:
    return next(schedule.runs(moment + _INSTANT, datetime.max.replace(tzinfo=UTC)), None)


@lru_cache(_REMEMBERED)
def _last_before(schedule: Schedule, moment: datetime) -> datetime | None:
    return next((run for run in schedule._candidates(moment, reverse=True) if run < moment), None)  # noqa: SLF001 - it is this class's own, remembered


@lru_cache(_REMEMBERED_LISTS)
def _earliest_runs(schedule: Schedule, since: datetime, until: datetime, limit: int) -> Sequence[datetime]:
    return tuple(islice(schedule.runs(since, until), limit))


@lru_cache(_REMEMBERED_LISTS)
def _latest_runs(schedule: Schedule, since: datetime, until: datetime, limit: int) -> tuple[Sequence[datetime], int]:
    return schedule._find_latest(since, until, limit)  # noqa: SLF001 - it is this class's own, remembered


@lru_cache(_REMEMBERED)
def _plain(expression: str) -> CronSim:
    return CronSim(expression, datetime(2000, 1, 1))  # noqa: DTZ001 - days on the wall have no zone
