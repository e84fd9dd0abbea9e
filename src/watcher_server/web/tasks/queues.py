"""What the queues hold now, and how deep they were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from watcher_server.alerts.service import Level
from watcher_server.queue_monitor.alerts import level_of
from watcher_server.queue_monitor.depths import QueueState
from watcher_server.queue_monitor.history import QueueHistory, QueueSeries
from watcher_server.queue_monitor.load import Load
from watcher_server.settings import Settings
from watcher_server.web.tasks.timing import span_text

# Rows of the table that stands in for the chart.
_TABLE_ROWS = 24


@dataclass(frozen=True)
class QueueRow:
    """A queue, a task in the queues, or all of them.

    ``level`` is how bad the depth is, None for a queue that is fine; ``workers`` None where workers are of no queue.
    """

    name: str
    load: Load
    level: Level | None = None
    workers: int | None = None

    @property
    def oldest(self) -> str:
        """How long the oldest has waited."""
        return span_text(self.load.oldest_seconds)

    @property
    def drains_in(self) -> str:
        """How long what is pending will take; nothing to say when nothing is."""
        return span_text(self.load.seconds_to_drain if self.load.pending else None)


@dataclass(frozen=True)
class QueuesNow:
    """The queues, all of them together, and the tasks of which something waits, the most pending first."""

    queues: Sequence[QueueRow]
    total: QueueRow
    tasks: Sequence[QueueRow]
    workers_active: int
    broker_error: str | None


def show_queues(state: QueueState, settings: Settings) -> QueuesNow:
    """The measured queues as the page lists them."""
    queues = [
        QueueRow(name, load, level_of(load.pending, None, settings), state.workers.get(name, 0))
        for name, load in state.queues.items()
    ]
    waiting = [(name, load) for name, load in state.tasks.items() if load.pending or load.scheduled]
    return QueuesNow(
        queues=queues,
        total=QueueRow("all queues", state.total, None, state.workers_active),
        tasks=[QueueRow(name, load) for name, load in waiting],
        workers_active=state.workers_active,
        broker_error=state.broker_error,
    )


@dataclass(frozen=True)
class DepthRow:
    """The deepest that each queue was from a moment (UTC) on, until the next row; None where nobody measured."""

    moment: datetime
    pending: Sequence[int | None]


@dataclass(frozen=True)
class Depths:
    """How deep the queues were: the data of the chart, and the table of the same.

    ``peaks`` is the deepest that each queue was; None where it was never measured.
    """

    chart: Mapping[str, Any]
    queues: Sequence[str]
    rows: Sequence[DepthRow]
    peaks: Sequence[int | None]
    measured: bool


def show_depths(history: QueueHistory) -> Depths:
    """The history for a chart, and thinned for a table, the newest first."""
    series = list(history.queues.values())
    count = len(history.sampled_at)
    step = max(1, -(-count // _TABLE_ROWS))
    rows = [
        DepthRow(
            datetime.fromtimestamp(history.sampled_at[begin], UTC),
            [_highest(one, begin, begin + step) for one in series],
        )
        for begin in range(0, count, step)
    ]
    return Depths(
        chart={
            "moments": list(history.sampled_at),
            "queues": [{"name": name, "pending": list(one.pending)} for name, one in history.queues.items()],
            "thresholds": dict(history.thresholds),
        },
        queues=list(history.queues),
        rows=rows[::-1],
        peaks=[_highest(one, 0, count) for one in series],
        measured=any(value is not None for one in series for value in one.pending),
    )


def _highest(series: QueueSeries, begin: int, end: int) -> int | None:
    return max((value for value in series.pending[begin:end] if value is not None), default=None)
