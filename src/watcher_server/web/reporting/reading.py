"""The rows of the report: from anywhere in it, at the same cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.listing import contains
from watcher_server.pipelines.models import Pipeline
from watcher_server.reporting.service import matching
from watcher_server.reporting.statements import CHOSEN, DAILY, DAYS_BETWEEN, FIGURES_OF_WANTED, MATCHES, ROW
from watcher_server.web.reporting.query import Place, ReportView

# Of so many pipelines and days it is found out at once which pipelines ran on which days.
_LOOKED_AT_ONCE = 3_000
_NAMES_OFFERED = 20


@dataclass(frozen=True, slots=True)
class Extent:
    """What the report reaches over: today (UTC), how many pipelines match, and before which day the days are summed."""

    today: date
    pipelines: int
    summed_before: date | None

    @property
    def days_behind(self) -> int:
        """How many days that are over should have been summed: yesterday is, an hour after midnight."""
        return max(0, (self.today - self.summed_before).days - 1) if self.summed_before else 0


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Some rows, newest day first, then by name; whether there are newer and older ones."""

    rows: Sequence[Row[Any]]
    newer: bool
    older: bool


_EXTENT = text(f"""
SELECT (now() AT TIME ZONE 'UTC')::date AS today,
    (SELECT count(*) FROM pipeline JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
        WHERE {MATCHES}) AS pipelines,
    (SELECT summed_before FROM daily_pipeline_metric_progress WHERE summed_before > '-infinity') AS summed_before
""")  # noqa: S608 - parts of statements, which are code


async def read_extent(session: AsyncSession, view: ReportView) -> Extent:
    """One pass over the pipelines."""
    parameters = matching(view.pipeline_name, view.pipeline_type_name)
    row = (await session.execute(_EXTENT, parameters)).one()
    return Extent(row.today, row.pipelines, row.summed_before)


def _rows(beyond: str, among_names: str, order: str) -> str:
    return f"""
WITH {CHOSEN}, {DAYS_BETWEEN}, {DAILY}, wanted AS (
    SELECT date_recorded, pipeline_id, place FROM daily
    WHERE CAST(:from_day AS date) IS NULL OR date_recorded <> CAST(:from_day AS date)
        OR place {beyond} (SELECT count(*) FROM chosen WHERE pipeline_name {among_names} :from_name)
    ORDER BY date_recorded {order}
    LIMIT :limit
), {FIGURES_OF_WANTED}
SELECT figures.pipeline_id, {ROW}
FROM figures JOIN chosen ON chosen.id = figures.pipeline_id
ORDER BY date_recorded DESC, figures.place
"""  # noqa: S608 - as above


# The place after a name is one more than there are names up to it, whether or not it is still a pipeline's.
_ROWS_AFTER = text(_rows(">", "<=", "DESC, place"))
_ROWS_BEFORE = text(_rows("<=", "<", "ASC, place DESC"))


async def read_day(session: AsyncSession, view: ReportView, day: date) -> Sequence[Row[Any]]:
    """Every row of a day."""
    return await _read(session, view, (day, day), None, limit=None)


async def read_page(session: AsyncSession, view: ReportView, extent: Extent) -> ReportPage:
    """The rows where the address says; the newest where it says nothing."""
    newest_first = view.period(extent.today)
    if view.before is not None:
        rows, more = await _gather(session, view, extent, newest_first[::-1], Place.parse(view.before), backwards=True)
        return ReportPage(rows, newer=more, older=True)
    place = Place.parse(view.after) if view.after is not None else None
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
) -> tuple[list[Row[Any]], bool]:
    """A page of rows from a place on, and whether others follow; in as many looks as it takes, each twice as far."""
    if place is not None:
        days = [day for day in days if (day >= place.day if backwards else day <= place.day)]
    rows: list[Row[Any]] = []
    reach = max(1, _LOOKED_AT_ONCE // max(1, extent.pipelines))
    while days and len(rows) <= view.page_size:
        looked_at, days = days[:reach], days[reach:]
        span = (min(looked_at), max(looked_at))
        found = await _read(session, view, span, place, limit=view.page_size + 1 - len(rows), backwards=backwards)
        rows = [*found, *rows] if backwards else [*rows, *found]
        reach *= 2
    more = len(rows) > view.page_size
    return (rows[-view.page_size :] if backwards else rows[: view.page_size]), more


async def _read(
    session: AsyncSession,
    view: ReportView,
    span: tuple[date, date],
    place: Place | None,
    *,
    limit: int | None,
    backwards: bool = False,
) -> Sequence[Row[Any]]:
    parameters = matching(view.pipeline_name, view.pipeline_type_name) | {
        "first_day": span[0],
        "last_day": span[1],
        "from_day": place and place.day,
        "from_name": place and place.name,
        "limit": limit,
    }
    return (await session.execute(_ROWS_BEFORE if backwards else _ROWS_AFTER, parameters)).all()


_NAMES = text("SELECT name FROM pipeline WHERE name LIKE :part ORDER BY name LIMIT :most")


async def complete_name(session: AsyncSession, part: str) -> Sequence[str]:
    """Some names of pipelines that contain this, in alphabetical order, by the unique index of names."""
    return (await session.scalars(_NAMES, {"part": contains(part), "most": _NAMES_OFFERED})).all()


async def has_pipelines(session: AsyncSession) -> bool:
    """Whether there is any pipeline at all."""
    return await session.scalar(select(Pipeline.id).limit(1)) is not None
