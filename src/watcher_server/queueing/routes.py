"""Queue monitoring over HTTP."""

import asyncio

from fastapi import APIRouter, Request

from watcher_server.http.body import JsonRoute
from watcher_server.queueing import monitor
from watcher_server.queueing.configuration import MAIN_QUEUE, SCHEDULED_QUEUE, celery_configuration
from watcher_server.queueing.monitor import UNKNOWN, QueueDepths
from watcher_server.queueing.schemas import QueueReport
from watcher_server.settings import Settings

router = APIRouter(route_class=JsonRoute, tags=["queues"])


@router.post("/celery/monitor-queue", responses={503: {"description": "The broker does not answer."}})
async def monitor_queue(request: Request) -> QueueReport:
    """What waits in the queues; alerts as the scheduled check does when that is too much."""
    settings: Settings = request.app.state.settings
    depths = await asyncio.to_thread(monitor.read_queue_depths, settings.broker)
    await _alert(request, settings, depths)
    return _report(settings, depths)


async def _alert(request: Request, settings: Settings, depths: QueueDepths) -> None:
    engine = request.app.state.query_engine
    async with engine.connect() as connection:
        changes = await connection.run_sync(monitor.find_level_changes, depths, settings)
    if changes:
        # Not inside a transaction: workers have a second to answer.
        workers = await asyncio.to_thread(monitor.count_active_workers, settings)
        async with engine.begin() as connection:
            await connection.run_sync(monitor.raise_queue_alerts, changes, workers)
        request.app.state.relay.wake()


def _report(settings: Settings, depths: QueueDepths) -> QueueReport:
    return QueueReport(
        status="success",
        total_pending=depths.total,
        regular_queue_pending=depths.ready[MAIN_QUEUE],
        scheduled_queue_pending=depths.ready[SCHEDULED_QUEUE],
        beat_scheduled_tasks=len(celery_configuration(settings)["beat_schedule"]),
        task_breakdown=[f"{_title(task)}: {count}" for task, count in depths.tasks.items() if count or task != UNKNOWN],
        task_breakdown_raw=dict(depths.tasks),
    )


def _title(task: str) -> str:
    """``detect_anomalies_task`` as people read it: Detect Anomalies Task."""
    return task.rpartition(".")[2].replace("_", " ").title()
