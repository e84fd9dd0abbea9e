"""How deep the queues were, and at which levels they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from watcher_server.tasking.queues.history import QueueHistoryReport, QueueSeriesReport


@dataclass(frozen=True)
class DepthRow:
    """The greatest depth of each queue from a moment (UTC) until the next row; None where no sample was taken."""

    moment: datetime
    pending: Sequence[int | None]


@dataclass(frozen=True)
class Depths:
    """How deep the queues were, for a chart and for a table.

    ``peaks`` is the greatest depth of each queue; None for one without a sample.
    """

    chart: Mapping[str, Any]
    rows: Sequence[DepthRow]
    peaks: Mapping[str, int | None]


def show_depths(history: QueueHistoryReport) -> Depths:
    """The history for a chart, and thinned to 24 rows of a table, the newest first."""
    count = len(history.sampled_at)
    step = max(1, -(-count // 24))
    rows = [
        DepthRow(
            datetime.fromtimestamp(history.sampled_at[begin], UTC),
            [_highest(series, begin, begin + step) for series in history.queues.values()],
        )
        for begin in range(0, count, step)
    ]
    return Depths(
        chart={
            "moments": list(history.sampled_at),
            "queues": [{"name": name, "pending": list(series.pending)} for name, series in history.queues.items()],
            "thresholds": dict(history.thresholds),
        },
        rows=rows[::-1],
        peaks={name: _highest(series, 0, count) for name, series in history.queues.items()},
    )


def _highest(series: QueueSeriesReport, begin: int, end: int) -> int | None:
    return max((value for value in series.pending[begin:end] if value is not None), default=None)
