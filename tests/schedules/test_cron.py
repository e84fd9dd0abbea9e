"""When runs are expected: known dates of daylight saving, a plain model of cron, and what is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher_server.schedules.cron import Schedule, ScheduleError, find_zone, parse_expression

MINUTE = timedelta(minutes=1)


def local(moment: str, zone: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def runs(expression: str, zone: str, since: str, until: str) -> list[str]:
    """The runs between two local moments, as a clock on the wall shows them with its offset."""
    found = Schedule(expression, zone).runs(local(since, zone), local(until, zone))
    return [run.astimezone(ZoneInfo(zone)).strftime("%d %H:%M%z") for run in found]


BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


@pytest.mark.parametrize(
    ("zone", "expression", "since", "until", "expected"),
    [
        (BERLIN, "30 2 * * *", "2026-03-28", "2026-03-31", ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]),
        (BERLIN, "30 2 * * *", "2026-10-24", "2026-10-27", ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"]),
        (NEW_YORK, "30 2 * * *", "2026-03-07", "2026-03-10", ["07 02:30-0500", "08 03:00-0400", "09 02:30-0400"]),
        (NEW_YORK, "30 1 * * *", "2026-10-31", "2026-11-03", ["31 01:30-0400", "01 01:30-0400", "02 01:30-0500"]),
        (LORD_HOWE, "15 2 * * *", "2026-10-03", "2026-10-06", ["03 02:15+1030", "04 02:30+1100", "05 02:15+1100"]),
        (LORD_HOWE, "45 1 * * *", "2026-04-04", "2026-04-07", ["04 01:45+1100", "05 01:45+1100", "06 01:45+1030"]),
    ],
)
def test_a_run_at_a_fixed_hour_comes_once_a_day_whatever_the_clock_does(
    zone: str, expression: str, since: str, until: str, expected: list[str]
) -> None:
    assert runs(expression, zone, since, until) == expected


def test_fixed_times_in_the_hour_that_is_left_out_are_one_run() -> None:
    assert runs("0,30 2,3 * * *", BERLIN, "2026-03-29", "2026-03-30") == ["29 03:00+0200", "29 03:30+0200"]


@pytest.mark.parametrize(
    ("zone", "since", "until", "hours"),
    [
        (BERLIN, "2026-03-29", "2026-03-30", 23),
        (BERLIN, "2026-10-25", "2026-10-26", 25),
        (NEW_YORK, "2026-03-08", "2026-03-09", 23),
        (NEW_YORK, "2026-11-01", "2026-11-02", 25),
        (LORD_HOWE, "2026-10-04", "2026-10-05", 23.5),
        (LORD_HOWE, "2026-04-05", "2026-04-06", 24.5),
    ],
)
@pytest.mark.parametrize("minutes", [5, 10, 30])
def test_every_few_minutes_is_every_few_minutes_whatever_the_clock_does(
    zone: str, since: str, until: str, hours: float, minutes: int
) -> None:
    begin, end = local(since, zone), local(until, zone)

    found = list(Schedule(f"*/{minutes} * * * *", zone).runs(begin, end - MINUTE))

    assert len(found) == hours * 60 / minutes
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=minutes)}


def test_the_first_after_the_earlier_of_two_hours_is_never_in_the_past() -> None:
    second_pass = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15 in Berlin, for the second time.

    following = Schedule("30 2 * * *", BERLIN).first_after(second_pass)

    assert following == local("2026-10-26T02:30", BERLIN)


def test_a_midnight_that_is_left_out_makes_no_run_of_its_own() -> None:
    assert runs("*/30 0 * * *", "Africa/Cairo", "2026-04-24T01:00", "2026-04-25T00:45") == [
        "25 00:00+0300",
        "25 00:30+0300",
    ]
    assert runs("30 0 * * *", "Africa/Cairo", "2026-04-24T01:00", "2026-04-24T12:00") == ["24 01:00+0300"]


@dataclass(frozen=True)
class Cron:
    """Cron by its parts: a star, a star with a step, or the numbers of minutes and hours; and the days of the week."""

    minutes: int | tuple[int, ...]
    hours: int | tuple[int, ...]
    weekdays: tuple[int, ...]

    @property
    def expression(self) -> str:
        return f"{_field(self.minutes)} {_field(self.hours)} * * {_field(self.weekdays or 1)}"

    def matches(self, wall: datetime) -> bool:
        weekday = wall.isoweekday() % 7
        return (
            _is_in(wall.minute, self.minutes)
            and _is_in(wall.hour, self.hours)
            and (not self.weekdays or weekday in self.weekdays)
        )

    def is_fixed(self) -> bool:
        return isinstance(self.minutes, tuple) and isinstance(self.hours, tuple)


def _field(part: int | tuple[int, ...]) -> str:
    if isinstance(part, tuple):
        return ",".join(map(str, part))
    return "*" if part == 1 else f"*/{part}"


def _is_in(value: int, part: int | tuple[int, ...]) -> bool:
    return value in part if isinstance(part, tuple) else value % part == 0


def walk(cron: Cron, zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    """Minute by minute: what the clock on the wall shows, and what it left out in the minute before."""
    moment, done = since, set[datetime]()
    while moment <= until:
        wall, before = (each.astimezone(zone).replace(tzinfo=None) for each in (moment, moment - MINUTE))
        if cron.is_fixed():
            left_out = [before + MINUTE * n for n in range(1, (wall - before) // MINUTE)]
            come = [each for each in (*left_out, wall) if cron.matches(each) and each not in done]
            # The hour that comes twice: its second time is the one whose offset is the smaller.
            if come and not moment.astimezone(zone).fold:
                yield moment
            done.update(come)
        elif cron.matches(wall):
            yield moment
        moment += MINUTE


def parts(largest: int) -> st.SearchStrategy[int | tuple[int, ...]]:
    numbers = st.lists(st.integers(0, largest), min_size=1, max_size=4, unique=True).map(lambda n: tuple(sorted(n)))
    return st.one_of(numbers, st.sampled_from([1, 2, 5, 15, 20]))


CRONS = st.builds(
    Cron, parts(59), parts(23), st.lists(st.integers(0, 6), max_size=6, unique=True).map(lambda n: tuple(sorted(n)))
)
AROUND = st.sampled_from(
    [
        (BERLIN, datetime(2026, 3, 29, 1, tzinfo=UTC)),
        (BERLIN, datetime(2026, 10, 25, 1, tzinfo=UTC)),
        (NEW_YORK, datetime(2026, 3, 8, 7, tzinfo=UTC)),
        (NEW_YORK, datetime(2026, 11, 1, 6, tzinfo=UTC)),
        ("UTC", datetime(2026, 2, 28, 23, tzinfo=UTC)),
        ("Asia/Kathmandu", datetime(2026, 12, 31, 18, 15, tzinfo=UTC)),
    ]
)


def test_the_last_run_before_a_moment_may_lie_in_the_first_of_two_equal_hours() -> None:
    schedule = Schedule("32 0,1,2 * * *", "Europe/Berlin")

    found = schedule.last_before(datetime(2026, 10, 25, 1, 1, tzinfo=UTC))

    assert found == datetime(2026, 10, 25, 0, 32, tzinfo=UTC)


@settings(max_examples=60, deadline=None)
@given(cron=CRONS, around=AROUND, before=st.integers(0, 1500), after=st.integers(0, 1500))
def test_runs_are_those_of_a_clock_that_is_watched_minute_by_minute(
    cron: Cron, around: tuple[str, datetime], before: int, after: int
) -> None:
    zone, moment = around
    since, until = moment - before * MINUTE, moment + after * MINUTE
    expected = list(walk(cron, ZoneInfo(zone), since, until))
    schedule = Schedule(cron.expression, zone)

    assert list(schedule.runs(since, until)) == expected
    if expected:
        assert schedule.last_before(until + MINUTE) == expected[-1]
        latest, earlier = schedule.latest_runs(since, until, 3)
        assert (list(latest), earlier) == (expected[-3:], max(0, len(expected) - 3))


def test_years_of_runs_every_minute_are_counted() -> None:
    since, until = datetime(2024, 1, 1, 0, 3, tzinfo=UTC), datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)

    latest, earlier = Schedule("* * * * *", BERLIN).latest_runs(since, until, 100)

    assert (len(latest), latest[-1]) == (100, until.replace(second=0))
    assert earlier + 100 == (until.replace(second=0) - since) // MINUTE + 1


@pytest.mark.parametrize(
    ("given_text", "stored"),
    [("0 2 * * *", "0 2 * * *"), ("  */5  * * * mon-fri ", "*/5 * * * MON-FRI"), ("0 0 29 feb *", "0 0 29 FEB *")],
)
def test_an_expression_is_stored_in_one_spelling(given_text: str, stored: str) -> None:
    assert parse_expression(given_text) == stored


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "five-field cron"),
        ("* * * *", "five-field cron"),
        ("0 0 2 * * *", "five-field cron"),
        ("@daily", "five-field cron"),
        ("61 * * * *", "bad minute"),
        ("0 25 * * *", "bad hour"),
        ("0 0 32 * *", "bad day-of-month"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * * 9", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("0 0 30 2 *", "a moment that comes"),
        ("0 0 */28 2 1#3", "a moment that comes"),
    ],
)
def test_what_is_no_schedule_says_so(expression: str, reason: str) -> None:
    with pytest.raises(ScheduleError, match=reason):
        parse_expression(expression)


def test_zones_have_their_proper_spelling() -> None:
    assert [find_zone(name) for name in ("europe/berlin", " UTC ", "america/port-au-prince")] == [
        "Europe/Berlin",
        "UTC",
        "America/Port-au-Prince",
    ]
    for name in ("", "mars/olympus", "localtime", "../etc/passwd"):
        with pytest.raises(ScheduleError, match="IANA name of a time zone"):
            find_zone(name)
