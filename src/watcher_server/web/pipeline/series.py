"""The numbers of a pipeline's latest runs, and the anomalies among them: what its charts are drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.anomalies.rules import Metric

# In the order in which they are shown.
METRICS = (
    Metric.DURATION_SECONDS,
    Metric.TOTAL_ROWS,
    Metric.INSERTS,
    Metric.UPDATES,
    Metric.SOFT_DELETES,
    Metric.THROUGHPUT,
)
# A band costs the server some milliseconds: of more runs they are worked out when somebody asks.
MOST_BANDS = 60


@dataclass(frozen=True, slots=True)
class Chart:
    """One metric over the runs; ``anomalies`` are its results, the newest first."""

    metric: str
    rule: AnomalyDetectionRule | None
    anomalies: tuple[Row[Any], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """The latest runs, the oldest first, and a chart for each metric worth one, those with a rule first.

    ``always_zero`` are the metrics that are worth none for being zero in all of these runs.
    """

    runs: Sequence[Row[Any]]
    charts: tuple[Chart, ...]
    always_zero: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """What a script draws: columns of equal length, moments in seconds since the epoch."""
        flagged = {chart.metric: {row.pipeline_execution_id: row for row in chart.anomalies} for chart in self.charts}
        return {
            "ids": [run.id for run in self.runs],
            "starts": [run.start_date.timestamp() for run in self.runs],
            "failed": [run.completed_successfully is False for run in self.runs],
            "values": {metric: [getattr(run, metric) for run in self.runs] for metric in flagged},
            "anomalies": {
                metric: {
                    str(run_id): {"id": row.id, "lower": row.lower_bound, "upper": row.upper_bound}
                    for run_id, row in found.items()
                }
                for metric, found in flagged.items()
            },
        }


# All metrics in one pass, by ix_pipeline_execution_pipeline_id_start_date.
_RUNS = """
SELECT id, start_date, end_date, completed_successfully, duration_seconds, total_rows, inserts, updates, soft_deletes,
    throughput
FROM pipeline_execution WHERE pipeline_id = :pipeline_id
ORDER BY start_date DESC, id DESC LIMIT :number
"""

# Each by ix_anomaly_detection_result_pipeline_execution_id.
_RESULTS = """
SELECT result.id, result.pipeline_execution_id, result.metric_field, result.violation_value, result.z_score,
    result.lower_bound, result.upper_bound, run.start_date
FROM unnest(CAST(:execution_ids AS bigint[])) AS shown (id)
JOIN anomaly_detection_result AS result ON result.pipeline_execution_id = shown.id
JOIN pipeline_execution AS run ON run.id = shown.id
ORDER BY run.start_date DESC, run.id DESC
"""


async def read_series(
    session: AsyncSession, pipeline_id: int, rules: Sequence[AnomalyDetectionRule], number: int
) -> Series:
    """The latest so many runs of the pipeline, and what its rules found among them."""
    newest_first = (await session.execute(text(_RUNS), {"pipeline_id": pipeline_id, "number": number})).all()
    runs = newest_first[::-1]
    results = (await session.execute(text(_RESULTS), {"execution_ids": [run.id for run in runs]})).all() if runs else []
    by_metric = {rule.metric_field: rule for rule in rules}
    worth = [metric.value for metric in METRICS if metric in by_metric or any(getattr(run, metric) for run in runs)]
    drawn = sorted(worth, key=lambda metric: metric not in by_metric)
    charts = tuple(
        Chart(metric, by_metric.get(metric), tuple(row for row in results if row.metric_field == metric))
        for metric in drawn
    )
    zeros = [metric.value for metric in METRICS if metric not in drawn and _has_values(runs, metric)]
    return Series(runs, charts, tuple(zeros))


def _has_values(runs: Sequence[Row[Any]], metric: str) -> bool:
    return any(getattr(run, metric) is not None for run in runs)
