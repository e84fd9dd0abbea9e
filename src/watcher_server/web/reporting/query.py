"""The state of the reporting page, as its URL has it."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field

from watcher_server.kit.fields import SearchText
from watcher_server.reporting.schemas import LARGEST_PAGE, LONGEST_DAYS
from watcher_server.web.form_query import FormQuery

DEFAULT_PAGE_SIZE = 50
_LONGEST_PLACE = 11 + 150


@dataclass(frozen=True, slots=True)
class Place:
    """A row of the report: a day (UTC) and the name of a pipeline. In an address, ``2026-11-22/orders``."""

    day: date
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that an address names.

        Raises:
            ValueError: it names none.
        """
        day, _, name = text.partition("/")
        return cls(date.fromisoformat(day), name)

    def __str__(self) -> str:
        return f"{self.day}/{self.name}"


def _check_place(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    try:
        Place.parse(text)
    except ValueError:
        raise ValueError("must be a day and a name, such as 2026-11-22/orders") from None
    return text


PlaceText = Annotated[str, Field(max_length=_LONGEST_PLACE), AfterValidator(_check_place)]


class ReportView(FormQuery):
    """Which rows the page shows.

    ``days`` are the last ones up to today (UTC), ``day`` is a single one of these; ``after`` and ``before`` say where
    the page begins or ends, so that every page costs the same and nothing moves when new rows come in. ``summary`` has
    the summary on the page even where that takes long.
    """

    pipeline_name: SearchText | None = None
    pipeline_type_name: SearchText | None = None
    days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] = LONGEST_DAYS
    day: date | None = None
    page_size: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = DEFAULT_PAGE_SIZE
    after: PlaceText | None = None
    before: PlaceText | None = None
    summary: bool = False

    @property
    def is_filtered(self) -> bool:
        """Whether some rows of these days are left out."""
        return any((self.pipeline_name, self.pipeline_type_name, self.day))

    def parameters(self) -> dict[str, Any]:
        """The query of the page's address: what differs from the page without filters."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def period(self, today: date) -> list[date]:
        """The days that the rows are of, the newest first; none when the one day lies outside."""
        days = [today - timedelta(days=before) for before in range(self.days)]
        return days if self.day is None else [day for day in days if day == self.day]
