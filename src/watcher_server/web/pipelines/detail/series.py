"""The numbers of a pipeline's latest runs, and the anomalies among them: what its charts are drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.flagged import read_flagged
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule
from watcher_server.executions.recent import ListedRun, read_newest_runs
from watcher_server.web.pipelines.detail.wording import METRIC_NAMES


@dataclass(frozen=True, slots=True)
class Chart:
    """One metric over the runs; ``anomalies`` are its results, the newest first."""

    metric: str
    rule: AnomalyDetectionRule | None
    anomalies: Sequence[AnomalyDetectionResult]


@dataclass(frozen=True, slots=True)
class Series:
    """The latest runs, the oldest first, and a chart for each metric worth one, those with a rule first.

    ``always_zero`` are the metrics that are worth none for being zero in all of these runs.
    """

    runs: Sequence[ListedRun]
    charts: tuple[Chart, ...]
    always_zero: tuple[str, ...]

    @property
    def started(self) -> dict[int, datetime]:
        """When each run began, by its id."""
        return {run.id: run.start_date for run in self.runs}

    def as_data(self) -> dict[str, Any]:
        """What a script draws: columns of equal length, moments in seconds since the epoch."""
        flagged = {chart.metric: {row.pipeline_execution_id: row for row in chart.anomalies} for chart in self.charts}
        return {
            "ids": [run.id for run in self.runs],
            "starts": [run.start_date.timestamp() for run in self.runs],
            "failed": [
                run.completed_successfully is False and run.outcome not in {"aborted", "retried"} for run in self.runs
            ],
            "values": {metric: [getattr(run, metric) for run in self.runs] for metric in flagged},
            "anomalies": {
                metric: {
                    str(run_id): {"id": row.id, "lower": row.lower_bound, "upper": row.upper_bound}
                    for run_id, row in found.items()
                }
                for metric, found in flagged.items()
            },
        }


async def read_series(
    session: AsyncSession, pipeline_id: int, rules: Sequence[AnomalyDetectionRule], number: int
) -> Series:
    """The latest runs of the pipeline, this many at most, and what its rules found among them."""
    runs = (await read_newest_runs(session, pipeline_id, number))[::-1]
    results = await read_flagged(session, [run.id for run in runs]) if runs else []
    place = {run.id: place for place, run in enumerate(runs)}
    results = sorted(results, key=lambda row: place[row.pipeline_execution_id], reverse=True)
    by_metric = {rule.metric_field: rule for rule in rules}
    drawn = [name for name in METRIC_NAMES if name in by_metric or any(getattr(run, name) for run in runs)]
    drawn.sort(key=lambda metric: metric not in by_metric)
    charts = tuple(
        Chart(metric, by_metric.get(metric), [row for row in results if row.metric_field == metric]) for metric in drawn
    )
    known = (name for name in METRIC_NAMES if any(getattr(run, name) is not None for run in runs))
    return Series(runs, charts, tuple(name for name in known if name not in drawn))
