"""Looking at the queues at once, over HTTP."""

from fastapi import APIRouter, Request

from watcher_server.http.body import JsonRoute
from watcher_server.incidents.queues import raise_queue_alerts
from watcher_server.tasking.queues.depths import measure_queues_async
from watcher_server.tasking.queues.reports import QueueReport, report_queues

router = APIRouter(route_class=JsonRoute, tags=["queues"])


@router.post("/celery/monitor-queue")
async def monitor_queue(request: Request) -> QueueReport:
    """What waits in the queues; alerts as the scheduled check does when that is too much."""
    engine, settings = request.app.state.query_engine, request.app.state.settings
    state = await measure_queues_async(engine, settings)
    async with engine.begin() as connection:
        await connection.run_sync(raise_queue_alerts, state, settings)
    return report_queues(state, settings)
