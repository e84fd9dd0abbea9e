"""The report as a file of comma-separated values, written day by day, however long it is."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import date
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from watcher_server.reporting.schemas import DailyMetrics
from watcher_server.web.reporting.query import ReportView
from watcher_server.web.reporting.reading import read_day

_COLUMNS = tuple(DailyMetrics.model_fields)
# Between so many rows others have their turn.
_ROWS_AT_ONCE = 1_000
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def file_name(days: Sequence[date]) -> str:
    """What the file is called: by its first and last day, given newest first."""
    span = f"-{days[-1]}-to-{days[0]}" if days else ""
    return f"watcher-daily-pipeline-metrics{span}.csv"


async def write_days(engine: AsyncEngine, view: ReportView, days: Sequence[date]) -> AsyncIterator[str]:
    """The file in pieces: a line of names, then every row of these days.

    A connection is held for one day's rows, and never while whoever downloads takes their time.
    """
    yield _write([_COLUMNS])
    for day in days:
        async with AsyncSession(engine) as session, session.begin():
            rows = await read_day(session, view, day)
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            piece = rows[first : first + _ROWS_AT_ONCE]
            yield _write([_cell(getattr(row, column)) for column in _COLUMNS] for row in piece)


def _write(lines: Iterable[Sequence[Any]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(lines)
    return written.getvalue()


def _cell(value: Any) -> Any:
    """The value, with an apostrophe before a text that a spreadsheet would reckon with."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
