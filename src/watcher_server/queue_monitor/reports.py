"""The state of the queues as programs are shown it: by the api, and by ``watcher status --json``."""

from dataclasses import asdict
from typing import Any

from watcher_server.queue_monitor.broker_depths import UNKNOWN
from watcher_server.queue_monitor.depths import QueueState
from watcher_server.queue_monitor.load import Load
from watcher_server.queue_monitor.schemas import LoadReport, QueueLoadReport, QueueReport
from watcher_server.queueing.configuration import MAIN_QUEUE, SCHEDULED_QUEUE, celery_configuration
from watcher_server.settings import Settings


def report_queues(state: QueueState, settings: Settings) -> QueueReport:
    """The state in the shape in which it is shown to programs."""
    pending = {task: load.pending for task, load in state.tasks.items() if load.pending and task != UNKNOWN}
    unknown = state.tasks[UNKNOWN].pending if UNKNOWN in state.tasks else 0
    shown = {**pending, UNKNOWN: unknown} if unknown else pending
    return QueueReport(
        **_numbers(state.total),
        status="success",
        total_pending=state.total.pending,
        regular_queue_pending=state.queues[MAIN_QUEUE].pending,
        scheduled_queue_pending=state.queues[SCHEDULED_QUEUE].pending,
        beat_scheduled_tasks=len(celery_configuration(settings)["beat_schedule"]),
        task_breakdown=[f"{_title(task)}: {count}" for task, count in shown.items()],
        task_breakdown_raw={**pending, UNKNOWN: unknown},
        workers_active=state.workers_active,
        broker_error=state.broker_error,
        queues={
            queue: QueueLoadReport(**_numbers(load), workers_active=state.workers.get(queue, 0))
            for queue, load in state.queues.items()
        },
        tasks={task: LoadReport(**_numbers(load)) for task, load in state.tasks.items()},
        failed_tasks=dict(state.failed_tasks),
    )


def _numbers(load: Load) -> dict[str, Any]:
    return {"pending": load.pending, **asdict(load)}


def _title(task: str) -> str:
    """``detect_anomalies_task`` as people read it: Detect Anomalies Task."""
    return task.rpartition(".")[2].replace("_", " ").title()
