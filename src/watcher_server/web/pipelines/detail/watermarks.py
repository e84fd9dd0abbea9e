"""How a pipeline's watermark moved from run to run, and where it did not go on from where it was."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from watcher_server.executions.recent import ListedRun, RunPage


class Oddity(StrEnum):
    """What is odd about a move: it leaves data out, reads data again, goes back, or cannot be compared."""

    GAP = "gap"
    OVERLAP = "overlap"
    BACKWARDS = "backwards"
    JUMP = "jump"


class Move(NamedTuple):
    """A run that moved the watermark from ``start`` to ``end``; ``before`` is where the run before it got."""

    run: ListedRun
    start: str | None
    end: str
    before: str | None
    oddity: Oddity | None

    @property
    def moved(self) -> bool:
        """Whether the watermark is another than before."""
        return self.end != self.start


def compare_moves(page: RunPage) -> list[Move]:
    """The moves of these runs, the newest first, each compared with the one before it."""
    return [_move(run, before) for run, before in pairwise([*page.runs, page.following]) if run is not None]


def _move(run: ListedRun, run_before: ListedRun | None) -> Move:
    end = run.next_watermark or ""
    before = None if run_before is None else run_before.next_watermark
    # A run that does not say from where it read is taken to have gone on from where the watermark was.
    start = before if run.watermark is None else run.watermark
    return Move(run, start, end, before, _oddity(start, end, before))


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
