"""When a cron expression comes true in a time zone, by the rules of Debian's cron.

A job at fixed hours runs once a day. In the hour that daylight saving leaves out it runs when that hour would have
begun; in the hour that comes twice it runs in the first. A job whose minute or hour begins with a star follows the
clock on the wall: it has no run in the hour that is left out, and runs in both hours of one that comes twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

_REMEMBERED = 4096
_REMEMBERED_LISTS = 256
# The smallest difference between two moments in the database.
_INSTANT = timedelta(microseconds=1)


class ScheduleError(ValueError):
    """The text is no schedule; the message says what a schedule looks like."""


@lru_cache(_REMEMBERED)
def parse_expression(text: str) -> str:
    """The expression as it is stored: upper case, one space between its five fields.

    Raises:
        ScheduleError: it is not five-field cron, or it never comes true.
    """
    expression = " ".join(text.upper().split())
    if len(expression.split()) != 5:  # noqa: PLR2004 - the message names them
        raise ScheduleError('must be five-field cron: minute, hour, day of month, month, day of week ("0 2 * * *")')
    if not _comes(expression):
        raise ScheduleError("must be a moment that comes: this one does not within fifty years")
    return expression


def _comes(expression: str) -> bool:
    minute, hour, day, _, weekday = expression.split()
    try:
        # CronSim gives the same error for a day that its month never has and for a misspelt day: try any month first.
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
    """The IANA name of a time zone, in its proper spelling. Raises ScheduleError: there is no such zone."""
    zone = _zones().get(name.strip().lower())
    if zone is None:
        raise ScheduleError('must be the IANA name of a time zone, such as "Europe/Berlin" or "UTC"')
    return zone


@cache
def _zones() -> dict[str, str]:
    # What these two mean depends on the machine that reads them.
    return {name.lower(): name for name in available_timezones() - {"localtime", "Factory"}}


@dataclass(frozen=True)
class Schedule:
    """A cron expression in a time zone. All moments that it takes and gives are in UTC.

    What a schedule computes is remembered, because many pipelines share one and are due at the same moment.
    """

    expression: str
    zone: str

    @lru_cache(_REMEMBERED)  # noqa: B019 - a schedule is a value: an equal one finds what was remembered
    def first_after(self, moment: datetime) -> datetime | None:
        """The first run after the moment; None when there is none within fifty years."""
        return next(self.runs(moment + _INSTANT, datetime.max.replace(tzinfo=UTC)), None)

    @lru_cache(_REMEMBERED)  # noqa: B019 - as above
    def last_before(self, moment: datetime) -> datetime | None:
        """The last run before the moment; None when there is none within fifty years."""
        found = next((run for run in self._candidates(moment, reverse=True) if run < moment), None)
        # Backwards, CronSim passes over a run in the first of two equal hours.
        return None if found is None else max(self.runs(found, moment - _INSTANT), default=found)

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

    @lru_cache(_REMEMBERED_LISTS)  # noqa: B019 - as above
    def earliest_runs(self, since: datetime, until: datetime, limit: int) -> Sequence[datetime]:
        """The earliest runs between two moments, both included, up to the limit."""
        return tuple(islice(self.runs(since, until), limit))

    @lru_cache(_REMEMBERED_LISTS)  # noqa: B019 - as above
    def latest_runs(self, since: datetime, until: datetime, limit: int) -> tuple[Sequence[datetime], int]:
        """The latest runs between two moments, both included, up to the limit; and how many earlier ones there are.

        Goes back day by day. Once there are enough runs, whole days are only counted, so that years of runs every
        minute take a moment.
        """
        found = self.earliest_runs(since, until, limit + 1)
        if len(found) <= limit:
            return found, 0
        latest: list[datetime] = []
        earlier = 0
        end = until + _INSTANT
        while end > since:
            day = (end - _INSTANT).astimezone(ZoneInfo(self.zone)).date()
            begin = self._midnight(day)
            if len(latest) >= limit and begin >= since:
                earlier += self._count_day(day, begin, end)
            else:
                latest = [*self.runs(max(begin, since), end - _INSTANT), *latest]
            end = begin
        return tuple(latest[-limit:]), earlier + max(0, len(latest) - limit)

    def _count_day(self, day: date, begin: datetime, end: datetime) -> int:
        """How many runs a whole day has, from its midnight to the next."""
        cron = CronSim(self.expression, datetime(2000, 1, 1))  # noqa: DTZ001 - days on the wall have no zone
        if day.month not in cron.months or not cron.match_day(day):
            return 0
        if end - begin == timedelta(days=1):
            return len(cron.minutes) * len(cron.hours)
        return sum(1 for _ in self.runs(begin, end - _INSTANT))

    def _candidates(self, moment: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        for found in CronSim(self.expression, moment.astimezone(ZoneInfo(self.zone)), reverse=reverse):
            run = found.astimezone(UTC)
            # CronSim begins a day at its midnight, which some zones leave out when daylight saving begins.
            if run.astimezone(found.tzinfo).replace(tzinfo=None) == found.replace(tzinfo=None):
                yield run

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), tzinfo=ZoneInfo(self.zone)).astimezone(UTC)
