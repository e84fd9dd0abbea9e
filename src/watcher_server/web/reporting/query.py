"""The state of the reporting page, as its URL has it."""

import calendar
from datetime import date, timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from watcher_server.kit.fields import SearchText
from watcher_server.reporting.report import Names, Place
from watcher_server.reporting.schemas import LARGEST_PAGE, LONGEST_DAYS
from watcher_server.reporting.service import matching
from watcher_server.web.paging import FormQuery

DEFAULT_PAGE_SIZE = 50
LONGEST_RANGE = 366


def read_place(text: str) -> Place:
    """The place that a URL names: ``2026-11-22/orders``. Raises ValueError: it names none."""
    day, _, name = text.partition("/")
    return Place(date.fromisoformat(day), name)


def _check_place(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    try:
        read_place(text)
    except ValueError:
        raise ValueError("must be a day and a name, such as 2026-11-22/orders") from None
    return text


# No day of a report is earlier: the first day of Unix, so that the days before any period exist.
Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(9998, 12, 31))]
Month = Annotated[str, Field(pattern=r"^(19[7-9]\d|2\d{3})-(0[1-9]|1[0-2])$")]
PlaceText = Annotated[str, Field(max_length=11 + 150), AfterValidator(_check_place)]


class ReportView(FormQuery):
    """Which rows the page shows.

    ``days`` are the last ones up to today (UTC); instead of them, ``month`` is a month such as 2026-11, and ``first``
    and ``last`` are the ends of any period. ``day`` is a single one of these days; ``after`` and ``before`` say where
    the page begins or ends, so that every page costs the same and nothing moves when new rows come in. ``summary`` puts
    the summary on the page even where that takes long.
    """

    pipeline_name: SearchText | None = None
    pipeline_type_name: SearchText | None = None
    days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] = LONGEST_DAYS
    month: Month | None = None
    first: Day | None = None
    last: Day | None = None
    day: Day | None = None
    page_size: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = DEFAULT_PAGE_SIZE
    after: PlaceText | None = None
    before: PlaceText | None = None
    summary: bool = False

    @property
    def is_filtered(self) -> bool:
        """Whether some rows of these days are left out."""
        return any((self.pipeline_name, self.pipeline_type_name, self.day))

    def names(self) -> Names:
        """The pipelines that the rows are of."""
        return matching(self.pipeline_name, self.pipeline_type_name)

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.first and self.last and not 0 <= (self.last - self.first).days < LONGEST_RANGE:
            raise ValueError(f"the last day must not be before the first, and {LONGEST_RANGE} days are the most")
        return self

    @property
    def is_of_last_days(self) -> bool:
        """Whether the rows are of the last ``days``, and of no month or range."""
        return not (self.month or self.first or self.last)

    def span(self, today: date) -> tuple[date, date]:
        """The first and the last day; the first is after the last when none of them has come yet."""
        if self.month:
            year, month = (int(part) for part in self.month.split("-"))
            first, last = date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])
        elif self.first is not None:
            first, last = self.first, self.last or self.first + timedelta(days=LONGEST_RANGE - 1)
        else:
            last = self.last or today
            first = last - timedelta(days=self.days - 1)
        return first, min(last, today)

    def period(self, today: date) -> list[date]:
        """The days that the rows are of, the newest first; none when the one day lies outside."""
        first, last = self.span(today)
        days = [last - timedelta(days=before) for before in range((last - first).days + 1)]
        return days if self.day is None else [day for day in days if day == self.day]

    def period_before(self, today: date) -> tuple[date, date]:
        """As many days right before; before a month, as many days from the beginning of the month before."""
        first, last = (self.day, self.day) if self.day is not None else self.span(today)
        if self.month and self.day is None:
            end_before = first - timedelta(days=1)
            begin = end_before.replace(day=1)
            whole = last.day == calendar.monthrange(last.year, last.month)[1]
            return begin, end_before if whole else min(end_before, begin + (last - first))
        return first - (last - first) - timedelta(days=1), first - timedelta(days=1)
