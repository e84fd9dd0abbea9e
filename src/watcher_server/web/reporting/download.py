"""The report as a file of comma-separated values, written day by day, however long it is."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import date
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from watcher_server.reporting.report import read_rows
from watcher_server.reporting.schemas import DailyMetrics
from watcher_server.web.reporting.query import ReportView

_COLUMNS = tuple(DailyMetrics.model_fields)
# After each piece of this number of rows, other requests get their turn.
_ROWS_AT_ONCE = 1_000


def file_name(days: Sequence[date]) -> str:
    """The name of the file, with its first and last day; the days are given newest first."""
    span = f"-{days[-1]}-to-{days[0]}" if days else ""
    return f"watcher-daily-pipeline-metrics{span}.csv"


async def write_days(engine: AsyncEngine, view: ReportView, days: Sequence[date]) -> AsyncIterator[str]:
    """The file in pieces: a byte-order mark, a line of names, then every row of these days.

    A connection is held while one day's rows are read, and never while the client receives them.
    """
    # Excel reads a file without this mark in the code page of its machine.
    yield "\ufeff" + _write([_COLUMNS])
    for day in days:
        async with AsyncSession(engine) as session, session.begin():
            rows = await read_rows(session, view.names(), (day, day))
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            piece = rows[first : first + _ROWS_AT_ONCE]
            yield _write([_cell(getattr(row, column)) for column in _COLUMNS] for row in piece)


def _write(lines: Iterable[Sequence[Any]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(lines)
    return written.getvalue()


def _cell(value: Any) -> Any:
    """The value, with an apostrophe before a text that a spreadsheet would take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
