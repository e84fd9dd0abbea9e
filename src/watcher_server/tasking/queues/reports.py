"""The state of the queues as programs are shown it: by the api, and by ``watcher status --json``."""

from watcher_server.settings import Settings
from watcher_server.tasking.queues.broker_depths import UNKNOWN
from watcher_server.tasking.queues.depths import QueueState
from watcher_server.tasking.queues.load import LoadReport
from watcher_server.tasking.sending.configuration import beat_schedule
from watcher_server.tasking.wire import MAIN_QUEUE, SCHEDULED_QUEUE


class QueueLoadReport(LoadReport):
    """The load of a queue; ``workers_active`` counts the living workers that serve it."""

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


def report_queues(state: QueueState, settings: Settings) -> QueueReport:
    """The state in the shape in which it is shown to programs."""
    pending = {task: load.pending for task, load in state.tasks.items() if load.pending and task != UNKNOWN}
    unknown = state.tasks[UNKNOWN].pending if UNKNOWN in state.tasks else 0
    shown = {**pending, UNKNOWN: unknown} if unknown else pending
    return QueueReport(
        **dict(state.total),
        status="success",
        total_pending=state.total.pending,
        regular_queue_pending=state.queues[MAIN_QUEUE].pending,
        scheduled_queue_pending=state.queues[SCHEDULED_QUEUE].pending,
        beat_scheduled_tasks=len(beat_schedule(settings)),
        # ``detect_anomalies_task`` as people read it: Detect Anomalies Task.
        task_breakdown=[f"{task.rpartition('.')[2].replace('_', ' ').title()}: {shown[task]}" for task in shown],
        task_breakdown_raw={**pending, UNKNOWN: unknown},
        workers_active=state.workers_active,
        broker_error=state.broker_error,
        queues={
            queue: QueueLoadReport(**dict(load), workers_active=state.workers.get(queue, 0))
            for queue, load in state.queues.items()
        },
        tasks=dict(state.tasks),
        failed_tasks=dict(state.failed_tasks),
    )
