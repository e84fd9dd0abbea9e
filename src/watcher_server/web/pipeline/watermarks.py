"""How a pipeline's watermark moved from run to run, and where it did not go on from where it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.web.paging import PAGE_SIZE
from watcher_server.web.pipeline.runs import RunPage, read_moves


class Oddity(StrEnum):
    """What is odd about a move: data was left out, read again, given up, or the two cannot be compared."""

    GAP = "gap"
    OVERLAP = "overlap"
    BACKWARDS = "backwards"
    JUMP = "jump"


@dataclass(frozen=True, slots=True)
class Move:
    """One run's: from where it read to where it got; ``before`` is where the run before it got."""

    run: Row[Any]
    start: str | None
    end: str
    before: str | None
    oddity: Oddity | None

    @property
    def moved(self) -> bool:
        """Whether the watermark is another than before."""
        return self.end != self.start


async def read_watermark_moves(
    session: AsyncSession, pipeline_id: int, *, before: int | None
) -> tuple[list[Move], RunPage]:
    """A page of moves, the newest first, and where the page stands."""
    page = await read_moves(session, pipeline_id, before=before)
    return compare_moves(page.runs)[:PAGE_SIZE], page


def compare_moves(runs: Sequence[Row[Any]]) -> list[Move]:
    """The moves of these runs, the newest first, each compared with the one before it."""
    return [_move(run, run_before) for run, run_before in pairwise([*runs, None]) if run is not None]


def _move(run: Row[Any], run_before: Row[Any] | None) -> Move:
    before = None if run_before is None else run_before.next_watermark
    # A run that does not say from where it read is taken to have gone on from where the watermark was.
    start = before if run.watermark is None else run.watermark
    return Move(run, start, run.next_watermark, before, _oddity(start, run.next_watermark, before))


def _oddity(start: str | None, end: str, before: str | None) -> Oddity | None:
    if start is not None and _order(end, start) == -1:
        return Oddity.BACKWARDS
    if start is None or before is None or start == before:
        return None
    return {1: Oddity.GAP, -1: Oddity.OVERLAP, None: Oddity.JUMP}.get(_order(start, before))


def _order(left: str, right: str) -> int | None:
    """Which is further, as numbers or as moments: 1 the left one, -1 the right one; None when nothing says so."""
    readings: tuple[Callable[[str], float], ...] = (int, float, _moment)
    for read in readings:
        try:
            further, other = read(left), read(right)
        except ValueError:
            continue
        return (further > other) - (further < other)
    return 0 if left == right else None


def _moment(watermark: str) -> float:
    moment = datetime.fromisoformat(watermark)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
