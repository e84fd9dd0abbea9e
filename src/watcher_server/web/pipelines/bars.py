"""The latest runs of a pipeline as small bars: the height is the duration, the colour the outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from math import sqrt

from watcher_server.executions.recent import RunOutcome
from watcher_server.kit.durations import duration_text

RUNS = 20
# A bar and the pixel between it and the next one.
STEP = 6
HEIGHT = 24
_LEAST_HEIGHT = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """One run as it is drawn, in pixels from the upper left."""

    id: int
    outcome: str
    title: str
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of one pipeline, oldest first, and what they say in words."""

    bars: Sequence[Bar]
    label: str


def draw_bars(runs: Sequence[RunOutcome]) -> Bars:
    """The bars of runs that come newest first; the newest stands at the right, however few there are.

    The longest takes the whole height. The square root keeps a run of a minute visible beside one of an hour.
    """
    longest = max((run.seconds for run in runs), default=0) or 1
    first = RUNS - len(runs)
    bars = [_bar(run, STEP * (first + place), run.seconds / longest) for place, run in enumerate(reversed(runs))]
    return Bars(bars, _label(runs))


def _bar(run: RunOutcome, x: int, share: float) -> Bar:
    height = max(_LEAST_HEIGHT, round(HEIGHT * sqrt(max(0.0, share))))
    return Bar(run.id, run.outcome, _title(run), x, HEIGHT - height, height)


def _title(run: RunOutcome) -> str:
    duration = duration_text(run.seconds)
    took = f"running for {duration}" if run.outcome == "running" else f"{run.outcome} after {duration}"
    loaded = "" if run.total_rows is None else f", {run.total_rows:,} rows"
    return f"{took}{loaded}; began {run.start_date.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _label(runs: Sequence[RunOutcome]) -> str:
    counts = {
        word: sum(run.outcome == word for run in runs)
        for word in ("ok", "failed", "lost", "aborted", "retried", "anomalous", "running")
    }
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"Last {len(runs)} runs: {said}" if len(runs) > 1 else f"Last run: {said.removeprefix('1 ')}"
