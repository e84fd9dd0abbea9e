"""What the list says of each event: its runs, what was expected of them, and the runs around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyEvent
from watcher_server.anomalies.rules import Metric
from watcher_server.web.anomalies.drawing import Point, Spark, draw_spark
from watcher_server.web.anomalies.events import FoundEvent, find_events
from watcher_server.web.anomalies.query import AnomaliesView

RUNS_DRAWN = 30
# So many of those may have followed the event: whether things are well again is seen as well as how they went wrong.
_FOLLOWING_DRAWN = 8
_RUNS_LISTED = 20


@dataclass(frozen=True, slots=True)
class FlaggedRun:
    """One run of an event; value and bounds in the metric's own unit."""

    execution_id: int
    started_at: datetime
    value: float
    lower: float
    upper: float
    z_score: float
    baseline_runs: int


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event as the list shows it; ``runs`` are its latest ones, newest first, as far as they are kept.

    ``goes_on``: no successful run with this metric has followed it yet.
    """

    event: AnomalyEvent
    pipeline_name: str
    minimum_executions: int
    runs: Sequence[FlaggedRun]
    spark: Spark | None
    goes_on: bool

    @property
    def latest(self) -> FlaggedRun | None:
        return self.runs[0] if self.runs else None

    @property
    def state(self) -> str:
        """In one word: accepted, going on, over."""
        if self.event.accepted_at is not None:
            return "accepted"
        return "going on" if self.goes_on else "over"


# Results by ix_anomaly_detection_result_event_id, runs by their primary key.
_RUNS = """
SELECT wanted.id AS event_id, flagged.*
FROM unnest(CAST(:event_ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT run.id AS execution_id, run.start_date, result.violation_value, result.lower_bound, result.upper_bound,
        result.z_score, result.execution_count
    FROM anomaly_detection_result AS result JOIN pipeline_execution AS run ON run.id = result.pipeline_execution_id
    WHERE result.event_id = wanted.id
    ORDER BY run.end_date DESC, run.id DESC LIMIT :most
) AS flagged
ORDER BY wanted.id
"""

_VALUE = "CASE event.metric_field {} END".format(
    " ".join(f"WHEN '{metric.value}' THEN run.{metric.value}::float8" for metric in Metric)
)


def _side(comparison: str, order: str, limit: str) -> str:
    return f"""(
        SELECT run.id, run.start_date, run.end_date, run.value,
            run.anomaly_flags ->> event.metric_field = 'true' AS flagged
        FROM (
            SELECT run.id, run.start_date, run.end_date, run.anomaly_flags, {_VALUE} AS value
            FROM pipeline_execution AS run
            WHERE run.pipeline_id = event.pipeline_id AND run.completed_successfully
                AND (run.start_date, run.id) {comparison} (event.start_date, event.last_execution_id)
        ) AS run
        WHERE run.value IS NOT NULL
        ORDER BY run.start_date {order}, run.id {order} LIMIT :{limit}
    )"""  # noqa: S608 - the names of the metrics, which are code


# Two short walks of ix_pipeline_execution_pipeline_id_start_date for each event, from its latest run back and on. Where
# retention has taken that run, from about when it was.
_AROUND = f"""
SELECT event.id AS event_id, around.start_date, around.value, coalesce(around.flagged, false) AS flagged,
    around.end_date BETWEEN event.started_at AND event.last_at AS within,
    (around.start_date, around.id) > (event.start_date, event.last_execution_id) AS follows
FROM (
    SELECT event.*, coalesce(latest.start_date, event.last_at) AS start_date
    FROM anomaly_event AS event LEFT JOIN pipeline_execution AS latest ON latest.id = event.last_execution_id
    WHERE event.id = ANY(CAST(:event_ids AS bigint[]))
) AS event
CROSS JOIN LATERAL ({_side("<=", "DESC", "before")} UNION ALL {_side(">", "ASC", "following")}) AS around
ORDER BY event.id, around.start_date, around.id
"""  # noqa: S608 - as above


async def read_events(session: AsyncSession, view: AnomaliesView) -> tuple[list[ShownEvent], bool]:
    """One page of events with what is known of each, and whether others follow."""
    found, more = await find_events(session, view)
    ids = [row.AnomalyEvent.id for row in found]
    runs = await _read_runs(session, ids)
    around = await _read_around(session, ids)
    return [_show(row, runs.get(row.AnomalyEvent.id, []), around.get(row.AnomalyEvent.id, [])) for row in found], more


async def _read_runs(session: AsyncSession, event_ids: Sequence[int]) -> dict[int, list[FlaggedRun]]:
    rows = await session.execute(text(_RUNS), {"event_ids": event_ids, "most": _RUNS_LISTED})
    return {
        event_id: [
            FlaggedRun(
                run.execution_id,
                run.start_date,
                run.violation_value,
                run.lower_bound,
                run.upper_bound,
                run.z_score,
                run.execution_count,
            )
            for run in runs
        ]
        for event_id, runs in groupby(rows, key=lambda run: run.event_id)
    }


async def _read_around(session: AsyncSession, event_ids: Sequence[int]) -> dict[int, list[Row[Any]]]:
    parameters = {"event_ids": event_ids, "before": RUNS_DRAWN, "following": _FOLLOWING_DRAWN}
    rows = await session.execute(text(_AROUND), parameters)
    return {event_id: list(runs) for event_id, runs in groupby(rows, key=lambda run: run.event_id)}


def _show(row: FoundEvent, runs: Sequence[FlaggedRun], around: Sequence[Row[Any]]) -> ShownEvent:
    points = [Point(run.value, run.flagged, run.within) for run in around[-RUNS_DRAWN:]]
    expected = (runs[0].lower, runs[0].upper) if runs else None
    return ShownEvent(
        event=row.AnomalyEvent,
        pipeline_name=row.pipeline_name,
        minimum_executions=row.minimum_executions,
        runs=runs,
        spark=draw_spark(points, expected),
        goes_on=not any(run.follows for run in around),
    )
