"""Queues and workers over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.tasking.queues.depths import measure_queues_async
from watcher_server.tasking.queues.history import KEPT_HOURS, QueueHistoryReport, read_history
from watcher_server.tasking.queues.reports import QueueReport, report_queues
from watcher_server.tasking.workers.service import KnownWorker, WorkerResponse, list_workers

Hours = Annotated[int, Query(ge=1, le=KEPT_HOURS, description="The number of last hours; a week is kept.")]

router = APIRouter(route_class=JsonRoute, tags=["queues"])


@router.get("/queues")
async def get_queues(request: Request) -> QueueReport:
    """What waits in the queues; this raises no alert."""
    settings = request.app.state.settings
    return report_queues(await measure_queues_async(request.app.state.query_engine, settings), settings)


@router.get("/queues/history")
async def get_queue_history(request: Request, session: Session, hours: Hours = 24) -> QueueHistoryReport:
    """How deep the queues were, at 360 moments at most: each of them the highest until the next."""
    return await read_history(session, hours, request.app.state.settings)


@router.get("/workers", response_model=list[WorkerResponse])
async def get_workers(session: Session) -> list[KnownWorker]:
    """The workers that live, then those that stopped or died within the last hour."""
    return await (await session.connection()).run_sync(list_workers)
