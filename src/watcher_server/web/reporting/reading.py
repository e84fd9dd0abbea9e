"""What the reporting page shows: a page of rows, and a summary of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.reporting.report import (
    Extent,
    PipelineSums,
    Place,
    ReportRow,
    Sums,
    read_pipeline_sums,
    read_rows,
    read_sums,
)
from watcher_server.web.reporting.query import ReportView, read_place

# The first look covers this number of pipelines times days.
_LOOKED_AT_ONCE = 3_000
# With more pipelines times days than this, the summary is loaded after the page.
_SUMMED_AT_ONCE = 10_000
MOST_TOTALS = 200


class ReportPage(NamedTuple):
    """Some rows, newest day first, then by name; whether there are newer and older ones."""

    rows: Sequence[ReportRow]
    newer: bool
    older: bool


async def read_page(session: AsyncSession, view: ReportView, extent: Extent) -> ReportPage:
    """The rows where the address says; the newest where it says nothing."""
    newest_first = view.period(extent.today)
    if view.before is not None:
        rows, more = await _gather(session, view, extent, newest_first[::-1], read_place(view.before), backwards=True)
        return ReportPage(rows, newer=more, older=True)
    place = read_place(view.after) if view.after is not None else None
    rows, more = await _gather(session, view, extent, newest_first, place)
    return ReportPage(rows, newer=place is not None, older=more)


async def _gather(
    session: AsyncSession,
    view: ReportView,
    extent: Extent,
    days: Sequence[date],
    place: Place | None,
    *,
    backwards: bool = False,
) -> tuple[list[ReportRow], bool]:
    """A page of rows from a place on, and whether others follow. Each look covers twice as many days as the last."""
    if place is not None:
        days = [day for day in days if (day >= place.day if backwards else day <= place.day)]
    rows: list[ReportRow] = []
    reach = max(1, _LOOKED_AT_ONCE // max(1, extent.pipelines))
    while days and len(rows) <= view.page_size:
        looked_at, days = days[:reach], days[reach:]
        span = (min(looked_at), max(looked_at))
        limit = view.page_size + 1 - len(rows)
        found = await read_rows(session, view.names(), span, place=place, backwards=backwards, limit=limit)
        rows = [*found, *rows] if backwards else [*rows, *found]
        reach *= 2
    return (rows[-view.page_size :] if backwards else rows[: view.page_size]), len(rows) > view.page_size


@dataclass(frozen=True, slots=True)
class PipelineTotal:
    """What one pipeline did in the period, and in the one before: None when it did not run in one of them."""

    pipeline_id: int
    shown: str
    type_name: str
    now: Sums | None
    before: Sums | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The days of the report on which something ran, the earliest first; what it comes to for each pipeline.

    ``first_before`` and ``last_before`` are the ends of the period before, and ``before`` is what that came to.
    """

    days: Sequence[tuple[date, Sums]]
    first_before: date
    last_before: date
    before: Sums
    pipelines: Sequence[PipelineTotal]

    @property
    def total(self) -> Sums:
        """Everything together."""
        return Sums.together([sums for _, sums in self.days])

    def chart(self) -> dict[str, list[Any]]:
        """What the charts draw, day by day."""
        return {
            "days": [day.isoformat() for day, _ in self.days],
            "completed": [sums.ended_executions - sums.failed_executions for _, sums in self.days],
            "failed": [sums.failed_executions for _, sums in self.days],
            "rows": [sums.total_rows for _, sums in self.days],
        }


def is_quick(view: ReportView, extent: Extent) -> bool:
    """Whether the summary is quick enough to be sent with the page."""
    return extent.pipelines * len(view.period(extent.today)) <= _SUMMED_AT_ONCE


async def read_summary(session: AsyncSession, view: ReportView, extent: Extent) -> Summary:
    """The summary of the whole filtered report, whatever page of it is shown."""
    days, names = view.period(extent.today), view.names()
    span, earlier = (days[-1], days[0]) if days else None, view.period_before(extent.today)
    now = await read_pipeline_sums(session, names, span) if span else []
    before = await read_pipeline_sums(session, names, earlier)
    return Summary(
        await read_sums(session, names, span) if span else [],
        *earlier,
        Sums.together([each.sums for each in before]),
        _totals(now, before),
    )


def _totals(now: Sequence[PipelineSums], before: Sequence[PipelineSums]) -> list[PipelineTotal]:
    """Those that failed most first, then those that ran most; at most as many as one table can show."""
    sums, former = ({each.pipeline_id: each for each in found} for found in (now, before))
    totals = [
        PipelineTotal(
            each.pipeline_id,
            each.pipeline_shown,
            each.pipeline_type_name,
            sums[each.pipeline_id].sums if each.pipeline_id in sums else None,
            former[each.pipeline_id].sums if each.pipeline_id in former else None,
        )
        for each in {**former, **sums}.values()
    ]
    return sorted(totals, key=_weight, reverse=True)[:MOST_TOTALS]


def _weight(total: PipelineTotal) -> tuple[int, int]:
    return (total.now.failed_executions, total.now.total_executions) if total.now else (-1, 0)
