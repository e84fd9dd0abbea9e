"""Calendars, digests and windows: when each is, also when the clocks change."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher_server.alerts.config.schemas import CalendarSpec, Digest, WindowSpec
from watcher_server.alerts.routing.calendars import Span, is_open, next_digest, next_opening
from watcher_server.alerts.routing.windows import next_span, span_at

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = CalendarSpec.model_validate({
    "zone": "Europe/Berlin", "weekly": ["mon-fri 08:00-18:00"], "except": ["2026-12-25"]
})  # fmt: skip
SATURDAY_NIGHT = WindowSpec.model_validate({
    "match": {"type": "dbt"}, "cron": "0 22 * * SAT", "duration": "4h", "zone": "Europe/Berlin"
})  # fmt: skip


def berlin(text: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-11-27 12:00", "2026-11-27 12:00"),
        ("2026-11-27 07:59", "2026-11-27 08:00"),
        ("2026-11-27 18:00", "2026-11-30 08:00"),
        # Christmas is a Friday, and the weekend follows.
        ("2026-12-24 18:00", "2026-12-28 08:00"),
        # The clocks go back, and forth, between Friday and Monday.
        ("2026-10-23 19:00", "2026-10-26 08:00"),
        ("2026-03-27 19:00", "2026-03-30 08:00"),
    ],
)
def test_what_comes_outside_the_hours_waits_until_they_begin(moment: str, opens: str) -> None:
    assert next_opening(OFFICE, berlin(moment)) == berlin(opens)


def test_hours_may_pass_midnight_and_the_day_they_begin_on_is_what_counts() -> None:
    night = CalendarSpec.model_validate({"zone": "UTC", "weekly": ["fri 22:00-06:00"], "except": ["2026-11-20"]})
    assert is_open(night, datetime(2026, 11, 28, 5, 59, tzinfo=UTC))
    assert not is_open(night, datetime(2026, 11, 28, 6, 0, tzinfo=UTC))
    assert not is_open(night, datetime(2026, 11, 21, 1, 0, tzinfo=UTC))


def test_hours_until_midnight_end_there() -> None:
    evening = CalendarSpec.model_validate({"zone": "UTC", "weekly": ["fri 18:00-24:00"]})
    assert is_open(evening, datetime(2026, 11, 27, 23, 59, tzinfo=UTC))
    assert not is_open(evening, datetime(2026, 11, 28, 0, 0, tzinfo=UTC))


def test_a_calendar_of_exceptions_only_never_opens() -> None:
    never = CalendarSpec.model_validate({
        "zone": "UTC", "weekly": ["mon 08:00-09:00"],
        "except": [(date(2026, 11, 23) + timedelta(weeks=number)).isoformat() for number in range(60)],
    })  # fmt: skip
    assert next_opening(never, datetime(2026, 11, 22, tzinfo=UTC)) is None


def test_hours_that_daylight_saving_leaves_out_begin_when_it_does() -> None:
    early = CalendarSpec.model_validate({"zone": "Europe/Berlin", "weekly": ["sun 02:30-05:00"]})
    # At 02:00 the clocks show 03:00.
    assert next_opening(early, berlin("2026-03-29 01:00")) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_hours_that_come_twice_are_open_both_times() -> None:
    early = CalendarSpec.model_validate({"zone": "Europe/Berlin", "weekly": ["sun 02:00-03:00"]})
    assert is_open(early, berlin("2026-10-25 02:30"))
    assert is_open(early, berlin("2026-10-25 02:30", fold=1))


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("2026-11-27 08:29", "2026-11-27 08:30"),
        ("2026-11-27 08:30", "2026-11-28 08:30"),
        ("2026-10-24 09:00", "2026-10-25 08:30"),
        ("2026-03-28 09:00", "2026-03-29 08:30"),
    ],
)
def test_a_digest_comes_once_a_day_at_its_time(moment: str, told: str) -> None:
    digest = Digest.model_validate({"at": "08:30", "zone": "Europe/Berlin"})
    assert next_digest(digest, berlin(moment)) == berlin(told)


def test_a_digest_comes_also_on_the_day_that_lacks_its_time() -> None:
    digest = Digest.model_validate({"at": "02:30", "zone": "Europe/Berlin"})
    assert next_digest(digest, berlin("2026-03-28 12:00")) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_a_window_lasts_its_duration_also_in_the_nights_when_the_clocks_change() -> None:
    for saturday in ("2026-10-24", "2026-03-28", "2026-11-28"):
        begins = berlin(f"{saturday} 22:00")
        assert span_at(SATURDAY_NIGHT, begins) == Span(begins, begins + timedelta(hours=4))
        assert span_at(SATURDAY_NIGHT, begins + timedelta(hours=4)) is None
        assert span_at(SATURDAY_NIGHT, begins - timedelta(seconds=1)) is None
    assert next_span(SATURDAY_NIGHT, berlin("2026-10-24 23:00")) == Span(
        berlin("2026-10-31 22:00"), berlin("2026-11-01 02:00")
    )


def test_occurrences_that_overlap_are_one_window() -> None:
    window = WindowSpec.model_validate({"match": {"type": "dbt"}, "cron": "0 1,2,3,8 * * *", "duration": "90m"})
    at_half_past_two = datetime(2026, 11, 27, 2, 45, tzinfo=UTC)
    span = span_at(window, at_half_past_two)
    assert span is not None
    assert span.ends == datetime(2026, 11, 27, 4, 30, tzinfo=UTC)


def test_a_mute_without_an_end_is_quiet_for_good() -> None:
    mute = WindowSpec.model_validate({"match": {"pipeline": "orders"}})
    span = span_at(mute, datetime(2026, 11, 27, tzinfo=UTC))
    assert span is not None
    assert span.ends is None


minutes = st.integers(0, 366 * 24 * 60 - 1)


@given(
    start=st.integers(0, 1439), end=st.integers(0, 1439), day=st.integers(0, 6), at=minutes,
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)  # fmt: skip
def test_a_calendar_is_open_exactly_when_the_clock_on_the_wall_shows_its_hours(
    start: int, end: int, day: int, at: int, zone: str
) -> None:
    if start == end:
        return
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    hours = f"{names[day]} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    calendar = CalendarSpec.model_validate({"zone": zone, "weekly": [hours]})
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=at)
    wall = moment.astimezone(ZoneInfo(zone))
    # Within a day of a change of the clocks the tests above say what is right.
    if len({(moment + timedelta(hours=off)).astimezone(ZoneInfo(zone)).utcoffset() for off in (-36, 0, 36)}) > 1:
        return
    now = wall.weekday() * 1440 + wall.hour * 60 + wall.minute
    first = day * 1440 + start
    length = (end - start) % 1440
    assert is_open(calendar, moment) == ((now - first) % 10_080 < length)


@given(at=minutes)
def test_the_next_opening_is_open_and_nothing_before_it_is(at: int) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=at)
    opens = next_opening(OFFICE, moment)
    assert opens is not None
    assert is_open(OFFICE, opens)
    if opens > moment:
        assert not is_open(OFFICE, moment)
        assert not is_open(OFFICE, opens - timedelta(seconds=1))


@given(at=minutes)
def test_a_window_holds_the_moments_of_the_spans_that_it_announces(at: int) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=at)
    following = next_span(SATURDAY_NIGHT, moment)
    assert following is not None
    assert following.begins > moment
    assert span_at(SATURDAY_NIGHT, following.begins) == following
