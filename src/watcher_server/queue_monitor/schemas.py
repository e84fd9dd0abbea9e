"""The HTTP shapes of queue monitoring."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from watcher_server.kit.fields import ResponseBody
from watcher_server.workers.service import WorkerState


class LoadReport(ResponseBody):
    """What waits and how fast it moves, in tasks.

    ``pending`` waits to run: ``ready`` in the broker and ``outbox_pending`` in the database. ``unacknowledged`` was
    taken by a worker and is not done; ``scheduled`` is for later. Both broker numbers are null while it is away.
    ``oldest_seconds`` is null when nothing waits, ``seconds_to_drain`` when nothing goes out.
    """

    pending: int
    ready: int | None
    unacknowledged: int | None
    scheduled: int
    outbox_pending: int
    oldest_seconds: float | None
    in_per_minute: int
    out_per_minute: int
    failed_per_minute: int
    seconds_to_drain: float | None


class QueueLoadReport(LoadReport):
    """As above, of a queue; ``workers_active`` counts the living workers that serve it."""

    workers_active: int


class QueueReport(LoadReport):
    """What waits in the queues, and how fast it moves.

    ``total_pending`` is the sum over all queues; ``beat_scheduled_tasks`` is how many tasks beat runs by schedule.
    The breakdown counts the pending tasks by name; ``unknown`` is what was counted in the broker without being read.
    ``failed_tasks`` counts the failed tasks that are kept. ``broker_error`` says why the broker's numbers are
    missing; it is null when they are there.
    """

    status: str
    total_pending: int
    regular_queue_pending: int
    scheduled_queue_pending: int
    beat_scheduled_tasks: int
    task_breakdown: list[str]
    task_breakdown_raw: dict[str, int]
    workers_active: int
    broker_error: str | None
    queues: dict[str, QueueLoadReport]
    tasks: dict[str, LoadReport]
    failed_tasks: dict[str, int]


class QueueSeriesReport(ResponseBody):
    """What was in a queue, in tasks, a number for each moment: the highest until the next moment.

    ``pending`` is ``ready`` and ``outbox_pending`` together; ``oldest_seconds`` is 0 when nothing waited. Null is what
    nobody measured, or the broker did not answer.
    """

    pending: Sequence[int | None]
    ready: Sequence[int | None]
    unacknowledged: Sequence[int | None]
    scheduled: Sequence[int | None]
    outbox_pending: Sequence[int | None]
    oldest_seconds: Sequence[float | None]


class QueueHistoryReport(ResponseBody):
    """How deep the queues were: columns for a chart.

    ``sampled_at`` are moments in epoch seconds, equally far apart, the oldest first. ``thresholds`` has from how many
    pending tasks on a queue is at the levels ``info``, ``warning`` and ``critical``.
    """

    sampled_at: Sequence[int]
    queues: Mapping[str, QueueSeriesReport]
    thresholds: Mapping[str, int]


class WorkerResponse(ResponseBody):
    """A worker and what it last said of itself; one that died was not seen for 30 seconds. Times are UTC."""

    id: UUID
    name: str
    host: str
    pid: int
    state: WorkerState
    queues: list[str]
    processes: int
    active: int
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    metrics_url: str | None
