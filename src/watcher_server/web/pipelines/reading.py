"""What the list shows of the pipelines on one page, as they are now: their words, their bars, and what is used up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.executions.recent import RunOutcome, read_latest_runs
from watcher_server.kit.durations import duration_text
from watcher_server.pipelines.status import Condition, read_conditions
from watcher_server.pipelines.summaries import Interval, Summary, Threshold, read_summaries

Level = Literal["fresh", "close", "over", "unlimited"]


@dataclass(frozen=True, slots=True)
class Glance:
    """How something stands by its threshold.

    ``share`` is how much of the threshold is used up, 1 for all of it or more; None without a threshold.
    ``muted_by`` is "pipeline" or "type" when the check is muted, ``days`` are those that count, None for all.
    """

    level: Level
    share: float | None
    used_seconds: float | None
    threshold: Interval | None
    muted_by: str | None
    days: str | None = None

    @property
    def title(self) -> str:
        """All of it in words."""
        muted = {None: "", "pipeline": "; muted", "type": "; muted by its type"}[self.muted_by]
        if self.threshold is None:
            return "No threshold" + muted
        whose = "its own" if self.threshold.own else "its type's"
        used = "Nothing yet" if self.used_seconds is None else duration_text(self.used_seconds)
        days = f", and only {self.days} counts" if self.days else ""
        return f"{used} of {self.threshold} ({whose}){days}{muted}"


def judge(threshold: Threshold, used: float | None, days: str | None = None) -> Glance:
    """How many seconds are used up by what the threshold allows."""
    share = None
    if threshold.failure is not None:
        share = min(1.0, (used or 0.0) / threshold.seconds) if threshold.seconds else 0.0
    return Glance(_level(threshold, used or 0.0), share, used, threshold.failure, threshold.muted_by, days)


def _level(threshold: Threshold, used: float) -> Level:
    limit, warned = threshold.seconds, threshold.warning_seconds
    if threshold.failure is None:
        return "unlimited"
    if limit is not None and used > limit:
        return "over"
    if warned is None and limit is not None:
        # Without a warning threshold, "close" begins at this share of the threshold.
        warned = 0.8 * limit
    return "close" if warned is not None and used > warned else "fresh"


RUNS = 20
# A bar and the pixel between it and the next one.
STEP = 6
HEIGHT = 24


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
    counts = {
        word: sum(run.outcome == word for run in runs)
        for word in ("ok", "failed", "lost", "aborted", "retried", "anomalous", "running")
    }
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return Bars(bars, f"Last {len(runs)} runs: {said}" if len(runs) > 1 else f"Last run: {said.removeprefix('1 ')}")


def _bar(run: RunOutcome, x: int, share: float) -> Bar:
    height = max(3, round(HEIGHT * sqrt(max(0.0, share))))
    duration = duration_text(run.seconds)
    took = f"running for {duration}" if run.outcome == "running" else f"{run.outcome} after {duration}"
    loaded = "" if run.total_rows is None else f", {run.total_rows:,} rows"
    title = f"{took}{loaded}; began {run.start_date.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return Bar(run.id, run.outcome, title, x, HEIGHT - height, height)


@dataclass(frozen=True, slots=True)
class PipelineRow:
    """One row of the list.

    ``also`` are words that hold besides the status, ``remark`` is said beside them; ``due`` is what is due at
    ``due_at``.
    """

    pipeline: Summary
    status: str
    also: Sequence[str]
    remark: str | None
    bars: Bars
    last: RunOutcome | None
    freshness: Glance
    timeliness: Glance
    due: str
    due_at: datetime | None


async def read_rows(session: AsyncSession, pipeline_ids: Sequence[int]) -> list[PipelineRow]:
    """These pipelines in this order, as they are now; one that is gone is left out."""
    if not pipeline_ids:
        return []
    pipelines = await read_summaries(session, pipeline_ids)
    runs = await read_latest_runs(session, pipeline_ids, RUNS)
    conditions = await read_conditions(session, pipeline_ids)
    now = datetime.now(UTC)
    return [_row(each, conditions[each.id], runs.get(each.id, []), now) for each in pipelines]


def _row(pipeline: Summary, condition: Condition, runs: list[RunOutcome], now: datetime) -> PipelineRow:
    last = runs[0] if runs else None
    write = None if pipeline.freshness.muted_by else pipeline.stale_at
    due = pipeline.expected_next_run or write
    # The next run may be due only in the future: until then nothing is used up.
    used = max(0.0, (now - pipeline.counted_from).total_seconds())
    return PipelineRow(
        pipeline=pipeline,
        status=condition.status,
        also=condition.also,
        remark=condition.remark,
        bars=draw_bars(runs),
        last=last,
        freshness=judge(pipeline.freshness, used or None, pipeline.freshness_calendar),
        timeliness=judge(pipeline.timeliness, last.seconds if last else None),
        due="run" if pipeline.expected_next_run else "write",
        due_at=due if pipeline.active else None,
    )
