"""Dates of clocks that are wrong, and durations to the millisecond.

What a run counts by is stored, and what it said is shown: its dates as they were sent, and how far ahead they were.
"""

from datetime import UTC, datetime, timedelta
from typing import Protocol

# A date that lies further ahead of the database's clock is no clock that is wrong, but a mistake.
MOST_AHEAD = timedelta(days=1)

# The columns of an answer that are not those of the table, by their names. Two dates that were both ahead are of one
# clock, so their difference is right; else the dates by which the run counts are.
SHOWN_COLUMNS = {
    "start_date": "start_date + coalesce(start_skew, '0')",
    "end_date": "end_date + coalesce(end_skew, '0')",
    "duration_ms": """CASE WHEN duration_seconds IS NOT NULL THEN round(1000 * extract(epoch FROM
        CASE WHEN start_skew IS NULL OR end_skew IS NULL THEN end_date - start_date
        ELSE end_date + end_skew - start_date - start_skew END))::bigint END""",
    "clock_skew_seconds": "round(extract(epoch FROM greatest(start_skew, end_skew)), 3)::float8",
}


class Timed(Protocol):
    """From and until when a run counts, how far ahead both were, and how long it took; None where nobody knows."""

    @property
    def start_date(self) -> datetime: ...
    @property
    def end_date(self) -> datetime | None: ...
    @property
    def start_skew(self) -> timedelta | None: ...
    @property
    def end_skew(self) -> timedelta | None: ...
    @property
    def duration_seconds(self) -> int | None: ...


def exact_seconds(run: Timed) -> float | None:
    """How long a run took, to the microsecond; None while it is going, and where nobody knows."""
    if run.end_date is None or run.duration_seconds is None:
        return None
    took = run.end_date - run.start_date
    if run.start_skew is not None and run.end_skew is not None:
        took += run.end_skew - run.start_skew
    return took.total_seconds()


def shown_dates(run: Timed) -> tuple[datetime, datetime | None]:
    """The start and the end of a run as they were sent."""
    nothing = timedelta()
    return run.start_date + (run.start_skew or nothing), run.end_date and run.end_date + (run.end_skew or nothing)


def clock_skew(run: Timed) -> timedelta | None:
    """How far ahead the clock of a run is; None for one that is not."""
    return max((skew for skew in (run.start_skew, run.end_skew) if skew is not None), default=None)


def too_far_ahead(sent: datetime, now: datetime) -> str:
    """What is wrong with a date that lies more than a day ahead of the database's clock, which is ``now``."""
    return (
        f"{_moment(sent)} lies more than a day ahead of the server's time, which is {_moment(now)}: correct the clock "
        "or the offset of the date"
    )


def _moment(date: datetime) -> str:
    return f"{date.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
