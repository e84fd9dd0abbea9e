"""Queues and workers over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.queue_monitor.alerts import raise_queue_alerts
from watcher_server.queue_monitor.depths import measure_queues_async
from watcher_server.queue_monitor.history import KEPT_HOURS, read_history
from watcher_server.queue_monitor.reports import report_queues
from watcher_server.queue_monitor.schemas import QueueHistoryReport, QueueReport, WorkerResponse
from watcher_server.workers.service import list_workers

Hours = Annotated[int, Query(ge=1, le=KEPT_HOURS, description="So many of the last hours; a week is kept.")]

router = APIRouter(route_class=JsonRoute, tags=["queues"])


@router.post("/celery/monitor-queue")
async def monitor_queue(request: Request) -> QueueReport:
    """What waits in the queues; alerts as the scheduled check does when that is too much."""
    engine, settings = request.app.state.query_engine, request.app.state.settings
    state = await measure_queues_async(engine, settings)
    async with engine.begin() as connection:
        await connection.run_sync(raise_queue_alerts, state, settings)
    return report_queues(state, settings)


@router.get("/queues")
async def get_queues(request: Request) -> QueueReport:
    """What waits in the queues; nobody is alerted."""
    settings = request.app.state.settings
    return report_queues(await measure_queues_async(request.app.state.query_engine, settings), settings)


@router.get("/queues/history")
async def get_queue_history(request: Request, session: Session, hours: Hours = 24) -> QueueHistoryReport:
    """How deep the queues were, at 360 moments at most: each of them the highest until the next."""
    history = await read_history(session, hours, request.app.state.settings)
    return QueueHistoryReport.model_validate(history)


@router.get("/workers")
async def get_workers(session: Session) -> list[WorkerResponse]:
    """The workers that live, then those that stopped or died within the last hour."""
    connection = await session.connection()
    return [WorkerResponse.model_validate(worker) for worker in await connection.run_sync(list_workers)]
