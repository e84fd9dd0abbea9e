"""The last 24 hours: a lane for each pipeline that ran or should have, a bar for each run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.executions.recent import RunSince, read_runs_since
from watcher_server.kit.durations import duration_text
from watcher_server.missed_runs.service import read_missed_since
from watcher_server.pipelines.board import Glance, read_active_since

HOURS = 24
# The width of a lane in the units of its drawing, a minute each.
WIDTH = HOURS * 60
_LANES = 30
_NARROWEST = 8.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One run, or several of one outcome that overlap in the drawing; ``left`` and ``width`` in minutes.

    ``outcome`` is completed, anomalous, failed, lost, aborted, retried, running or missed; ``execution_id`` is None for
    a missed run.
    """

    pipeline_id: int
    left: float
    width: float
    outcome: str
    started_at: datetime
    execution_id: int | None = None
    seconds: float = 0.0
    runs: int = 1

    @property
    def title(self) -> str:
        """What the bar says when one points at it."""
        moment = f"{self.started_at.astimezone(UTC):%H:%M} UTC"
        if self.runs > 1:
            return f"{self.runs} runs {self.outcome}, the latest {moment}"
        if self.outcome == "missed":
            return f"Expected {moment}, did not start"
        return f"{self.outcome.capitalize()}, {moment}, {duration_text(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Lane:
    """One pipeline's bars, the earliest first."""

    pipeline: Glance
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The lanes that are shown, whether there are more, and the moments of the axis with their places in minutes."""

    lanes: Sequence[Lane]
    more: bool
    ticks: Sequence[tuple[float, datetime]]


async def read_timeline(session: AsyncSession, wrong: Sequence[Glance]) -> Timeline:
    """The last 24 hours of those in trouble that ran or should have, and of those that began last."""
    now = datetime.now(UTC)
    since = now - timedelta(hours=HOURS)
    pipelines = await read_active_since(session, [each.id for each in wrong], since, _LANES + 1)
    shown = pipelines[:_LANES]
    ids = [pipeline.id for pipeline in shown]
    bars = [_run_bar(run, since, now) for run in await read_runs_since(session, ids, since, 1_500)]
    bars += [
        _bar(miss.pipeline_id, "missed", miss.expected_at, miss.expected_at, since)
        for miss in await read_missed_since(session, ids, since)
    ]
    bars.sort(key=attrgetter("pipeline_id", "started_at"))
    merged = {pipeline_id: _merged(its) for pipeline_id, its in groupby(bars, attrgetter("pipeline_id"))}
    # Some full hours in UTC; in a zone that is half an hour off they are half hours.
    first = since.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    hours = [first + timedelta(hours=number) for number in range(HOURS)]
    return Timeline(
        [Lane(each, merged.get(each.id, ())) for each in shown],
        len(pipelines) > _LANES,
        [(round(_minutes(hour - since), 1), hour) for hour in hours if hour.hour % 4 == 0 and hour <= now],
    )


def _run_bar(run: RunSince, since: datetime, now: datetime) -> Bar:
    outcome = "completed" if run.outcome == "ok" else run.outcome
    until = run.end_date or now
    bar = _bar(run.pipeline_id, outcome, run.start_date, until, since)
    return replace(bar, execution_id=run.id, seconds=(until - run.start_date).total_seconds())


def _bar(pipeline_id: int, outcome: str, began: datetime, until: datetime, since: datetime) -> Bar:
    left = max(0.0, _minutes(began - since))
    width = max(_NARROWEST, _minutes(until - since) - left)
    return Bar(
        pipeline_id=pipeline_id,
        left=round(min(left, WIDTH - _NARROWEST), 1),
        width=round(min(width, WIDTH - left) if left + _NARROWEST < WIDTH else _NARROWEST, 1),
        outcome=outcome,
        started_at=began,
    )


def _minutes(span: timedelta) -> float:
    return span.total_seconds() / 60


def _merged(bars: Iterable[Bar]) -> Sequence[Bar]:
    """The bars, where bars of one outcome that overlap become one, which leads to the latest of its runs."""
    merged: list[Bar] = []
    for bar in bars:
        last = merged[-1] if merged else None
        if last is not None and last.outcome == bar.outcome and bar.left < last.left + last.width:
            right = max(last.left + last.width, bar.left + bar.width)
            merged[-1] = replace(bar, left=last.left, width=round(right - last.left, 1), runs=last.runs + 1)
        else:
            merged.append(bar)
    return merged
