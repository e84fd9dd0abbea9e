"""The last 24 hours: a lane for each pipeline that had something, a bar for each run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.durations import duration_text
from watcher_server.pipelines.board import BoardRow, BoardView
from watcher_server.web.overview.reading import RANK

HOURS = 24
# What a lane is wide, in the units of its drawing: a minute each.
WIDTH = HOURS * 60
_LANES = 30
_RUNS_PER_LANE = 1_500
_NARROWEST = 8.0
_TICK_HOURS = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """Runs of one outcome, mostly one, so close that they are one bar; ``left`` and ``width`` in minutes.

    ``outcome`` is completed, anomalous, failed, running or missed; ``execution_id`` None for a missed one.
    """

    left: float
    width: float
    outcome: str
    execution_id: int | None
    started_at: datetime
    seconds: float | None
    runs: int = 1

    @property
    def title(self) -> str:
        """What the bar says to whoever points at it."""
        moment = f"{self.started_at.astimezone(UTC):%H:%M} UTC"
        if self.runs > 1:
            return f"{self.runs} runs {self.outcome}, the latest {moment}"
        if self.outcome == "missed":
            return f"Expected {moment}, did not start"
        return f"{self.outcome.capitalize()}, {moment}, {duration_text(self.seconds or 0)}"


@dataclass(frozen=True, slots=True)
class Lane:
    """One pipeline's bars, the earliest first."""

    pipeline: BoardRow
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The lanes that are shown, of how many, and the moments of the axis with their places in minutes."""

    lanes: Sequence[Lane]
    total: int
    ticks: Sequence[tuple[float, datetime]]


# Of each lane one range of ix_pipeline_execution_pipeline_id_start_date; what began before and still runs, by
# ix_pipeline_execution_running; missed runs by their unique key.
_BARS = """
SELECT wanted.id AS pipeline_id, run.*
FROM unnest(CAST(:pipeline_ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    (SELECT id AS execution_id, start_date, end_date, CASE
        WHEN end_date IS NULL THEN 'running'
        WHEN NOT completed_successfully THEN 'failed'
        WHEN jsonb_path_exists(anomaly_flags, '$.* ? (@ == true)') THEN 'anomalous'
        ELSE 'completed' END AS outcome
    FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = wanted.id AND start_date >= :since
    ORDER BY start_date DESC LIMIT :most)
    UNION ALL
    SELECT id, start_date, NULL, 'running'
    FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = wanted.id AND end_date IS NULL AND start_date < :since
    UNION ALL
    SELECT NULL, expected_at, NULL, 'missed'
    FROM missed_run_log AS log
    WHERE log.pipeline_id = wanted.id AND expected_at >= :since
) AS run
ORDER BY pipeline_id, start_date
"""


async def read_timeline(session: AsyncSession, view: BoardView) -> Timeline:
    """The last 24 hours of the pipelines that ran or should have: those in trouble first, then the latest."""
    now = datetime.now(UTC)
    since = now - timedelta(hours=HOURS)
    rows = _in_order(view, since)
    shown = rows[:_LANES]
    parameters = {"pipeline_ids": [row.id for row in shown], "since": since, "most": _RUNS_PER_LANE}
    found = await session.execute(text(_BARS), parameters)
    bars = {
        pipeline_id: _merged(_bar(run, since, now) for run in runs)
        for pipeline_id, runs in groupby(found, key=lambda run: run.pipeline_id)
    }
    return Timeline([Lane(row, bars.get(row.id, ())) for row in shown], len(rows), _ticks(since, now))


def _in_order(view: BoardView, since: datetime) -> list[BoardRow]:
    def key(row: BoardRow) -> tuple[int, float]:
        return RANK.get(row.status, len(RANK)), -(row.last_start.timestamp() if row.last_start else 0.0)

    return sorted((row for row in view.rows if row.active and _had_something(row, since)), key=key)


def _had_something(row: BoardRow, since: datetime) -> bool:
    ran = row.last_start is not None and row.last_start >= since
    return ran or not row.conditions.isdisjoint({"missed", "running"})


def _bar(run: Row[Any], since: datetime, now: datetime) -> Bar:
    left = max(0.0, _minutes(run.start_date - since))
    until = run.end_date or (now if run.outcome == "running" else run.start_date)
    width = max(_NARROWEST, _minutes(until - since) - left)
    return Bar(
        left=round(min(left, WIDTH - _NARROWEST), 1),
        width=round(min(width, WIDTH - left) if left + _NARROWEST < WIDTH else _NARROWEST, 1),
        outcome=run.outcome,
        execution_id=run.execution_id,
        started_at=run.start_date,
        seconds=None if run.outcome == "missed" else (until - run.start_date).total_seconds(),
    )


def _minutes(span: timedelta) -> float:
    return span.total_seconds() / 60


def _merged(bars: Iterable[Bar]) -> Sequence[Bar]:
    """Bars that would hide each other become one, which leads to the latest of its runs."""
    merged: list[Bar] = []
    for bar in bars:
        last = merged[-1] if merged else None
        if last is not None and last.outcome == bar.outcome and bar.left < last.left + last.width:
            right = max(last.left + last.width, bar.left + bar.width)
            merged[-1] = replace(bar, left=last.left, width=round(right - last.left, 1), runs=last.runs + 1)
        else:
            merged.append(bar)
    return merged


def _ticks(since: datetime, now: datetime) -> list[tuple[float, datetime]]:
    """Full hours, a few of them; those of whoever looks from a zone of half hours are as good."""
    first = since.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    hours = [first + timedelta(hours=number) for number in range(HOURS)]
    return [(round(_minutes(hour - since), 1), hour) for hour in hours if hour.hour % _TICK_HOURS == 0 and hour <= now]
