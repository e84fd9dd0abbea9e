"""How 2013 is moved to end now."""

from datetime import UTC, date, datetime, timedelta

import pytest

from watcher_server.demo.data import FIRST_DAY, LAST_DAY
from watcher_server.demo.dates import FLIGHT_LOADS_AT, MARTS_AT, dates_ending_before


@pytest.mark.parametrize("hour", range(24))
def test_the_last_night_is_over_and_not_older_than_a_day_and_the_night(hour: int) -> None:
    now = datetime(2026, 3, 1, hour, 15, tzinfo=UTC)
    last_start = dates_ending_before(now, LAST_DAY).night_after(LAST_DAY, MARTS_AT)
    assert timedelta(minutes=30) < now - last_start < timedelta(hours=28)


def test_every_load_starts_in_the_same_hour() -> None:
    dates = dates_ending_before(datetime(2026, 3, 1, 12, tzinfo=UTC), LAST_DAY)
    starts = {dates.night_after(FIRST_DAY + timedelta(day), FLIGHT_LOADS_AT) for day in range(365)}
    assert len(starts) == 365
    assert {(start.hour, start.utcoffset()) for start in starts} == {(2, timedelta(0))}


def test_the_last_day_becomes_yesterday() -> None:
    dates = dates_ending_before(datetime(2026, 3, 1, 12, tzinfo=UTC), LAST_DAY)
    assert dates.moved(LAST_DAY) == date(2026, 2, 28)


def test_a_day_of_the_year_can_be_the_last_one() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    dates = dates_ending_before(now, date(2013, 2, 9))
    assert dates.moved(date(2013, 2, 9)) == date(2026, 2, 28)
    assert dates.is_over(date(2013, 2, 9), now)
    assert not dates.is_over(date(2013, 2, 10), now)
