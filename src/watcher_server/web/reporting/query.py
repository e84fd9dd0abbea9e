"""The state of the reporting page, as its URL has it."""

from datetime import date, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from watcher_server.kit.fields import SearchText
from watcher_server.reporting.report import Names, Place
from watcher_server.reporting.schemas import LARGEST_PAGE, LONGEST_DAYS
from watcher_server.reporting.service import matching
from watcher_server.web.paging import FormQuery

DEFAULT_PAGE_SIZE = 50


def read_place(text: str) -> Place:
    """The place that a URL names: ``2026-11-22/orders``.

    Raises:
        ValueError: it names none.
    """
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


PlaceText = Annotated[str, Field(max_length=11 + 150), AfterValidator(_check_place)]


class ReportView(FormQuery):
    """Which rows the page shows.

    ``days`` are the last ones up to today (UTC), ``day`` is a single one of these; ``after`` and ``before`` say where
    the page begins or ends, so that every page costs the same and nothing moves when new rows come in. ``summary`` puts
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

    def names(self) -> Names:
        """The pipelines that the rows are of."""
        return matching(self.pipeline_name, self.pipeline_type_name)

    def period(self, today: date) -> list[date]:
        """The days that the rows are of, the newest first; none when the one day lies outside."""
        days = [today - timedelta(days=before) for before in range(self.days)]
        return days if self.day is None else [day for day in days if day == self.day]
