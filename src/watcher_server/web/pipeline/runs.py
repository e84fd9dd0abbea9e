"""The runs of a pipeline, a page at a time, and the moves of its watermark."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.web.paging import PAGE_SIZE

# How many runs one page looks through for those that fit.
LOOKED_THROUGH = 5_000


class Outcome(StrEnum):
    """Which runs are shown."""

    ALL = ""
    FAILED = "failed"
    ANOMALOUS = "anomalous"
    RUNNING = "running"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, the newest first.

    ``older`` and ``newer`` are the ids to go on from, None where there is nothing more. ``cut`` says that not every
    run was looked at, and that there may be more that fit before ``older``.
    """

    runs: Sequence[Row[Any]]
    older: int | None
    newer: int | None
    cut: bool = False


# The runs before (or after) one, in both directions by ix_pipeline_execution_pipeline_id_start_date: looked through
# one after the other until the page is full, so many at most.
_RUNS = """
SELECT looked.*, (
    SELECT min(severity) FROM timeliness_pipeline_execution_log AS log WHERE log.pipeline_execution_id = looked.id
) AS overdue
FROM (
    SELECT id, start_date, end_date, duration_seconds, completed_successfully, total_rows, inserts, updates,
        soft_deletes, watermark, next_watermark, anomaly_flags
    FROM pipeline_execution
    WHERE pipeline_id = :pipeline_id{among}{beyond}
    ORDER BY start_date {order}, id {order} LIMIT :looked_through
) AS looked
WHERE {fits}
ORDER BY start_date {order}, id {order} LIMIT :limit
"""
_BEYOND = """
        AND (start_date, id) {comparison} (SELECT start_date, id FROM pipeline_execution WHERE id = :cursor)"""
_FITS = {
    Outcome.ALL: "true",
    Outcome.FAILED: "completed_successfully IS FALSE",
    Outcome.ANOMALOUS: "jsonb_path_exists(anomaly_flags, '$.* ? (@ == true)')",
    Outcome.RUNNING: "end_date IS NULL",
    Outcome.COMPLETED: "completed_successfully",
}
# Those that still run have an index of their own, ix_pipeline_execution_running: nothing else is looked at for them.
_AMONG = {_FITS[Outcome.RUNNING]: " AND end_date IS NULL"}
# Those that moved the watermark, or said where it stands.
_MOVES = "completed_successfully AND next_watermark IS NOT NULL"

# The last that was looked at, by the same index.
_LAST_LOOKED_AT = """
SELECT id FROM pipeline_execution WHERE pipeline_id = :pipeline_id{among}{beyond}
ORDER BY start_date DESC, id DESC OFFSET :looked_through - 1 LIMIT 1
"""


def _statement(fits: str, *, cursor: int | None, backwards: bool) -> str:
    beyond = "" if cursor is None else _BEYOND.format(comparison="<" if backwards else ">")
    return _RUNS.format(fits=fits, among=_AMONG.get(fits, ""), beyond=beyond, order="DESC" if backwards else "ASC")


async def read_runs(
    session: AsyncSession, pipeline_id: int, outcome: Outcome, *, before: int | None, after: int | None
) -> RunPage:
    """The runs of that outcome before an execution, after one, or the newest."""
    if after is not None and before is None:
        return await _read_newer(session, pipeline_id, _FITS[outcome], after)
    return await _read_older(session, pipeline_id, _FITS[outcome], before, 0)


async def read_moves(session: AsyncSession, pipeline_id: int, *, before: int | None) -> RunPage:
    """The successful runs that named a watermark before an execution, or the newest, and one more to compare with."""
    return await _read_older(session, pipeline_id, _MOVES, before, 1)


async def _read_older(session: AsyncSession, pipeline_id: int, fits: str, before: int | None, kept: int) -> RunPage:
    """``kept`` more runs than a page stay in the answer, where there are so many."""
    parameters = {
        "pipeline_id": pipeline_id,
        "cursor": before,
        "looked_through": LOOKED_THROUGH,
        "limit": PAGE_SIZE + 1,
    }
    statement = _statement(fits, cursor=before, backwards=True)
    found = (await session.execute(text(statement), parameters)).all()
    newer = found[0].id if found and before is not None else None
    if len(found) > PAGE_SIZE:
        return RunPage(found[: PAGE_SIZE + kept], older=found[PAGE_SIZE - 1].id, newer=newer)
    beyond = "" if before is None else _BEYOND.format(comparison="<")
    statement = _LAST_LOOKED_AT.format(among=_AMONG.get(fits, ""), beyond=beyond)
    last = await session.scalar(text(statement), parameters)
    return RunPage(found, older=last, newer=newer, cut=last is not None)


async def _read_newer(session: AsyncSession, pipeline_id: int, fits: str, after: int) -> RunPage:
    parameters = {
        "pipeline_id": pipeline_id,
        "cursor": after,
        "looked_through": LOOKED_THROUGH,
        "limit": PAGE_SIZE + 1,
    }
    statement = _statement(fits, cursor=after, backwards=False)
    found = (await session.execute(text(statement), parameters)).all()
    shown = found[:PAGE_SIZE][::-1]
    older = shown[-1].id if shown else None
    return RunPage(shown, older=older, newer=shown[0].id if len(found) > PAGE_SIZE else None)
