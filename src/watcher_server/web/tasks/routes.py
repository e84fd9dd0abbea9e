"""The pages of the background tasks: the list with its queues and workers, and one task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.responses import Response

from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.tasking.limits.service import limit_text, list_limits
from watcher_server.tasking.queues.depths import QueueState
from watcher_server.tasking.queues.history import QueueHistoryReport, QueueSeriesReport, read_history
from watcher_server.tasking.queues.levels import level_of
from watcher_server.tasking.workers.service import list_workers
from watcher_server.web.pages import page_router, render
from watcher_server.web.paging import paging, url_builder
from watcher_server.web.tasks.changes import router as changes_router
from watcher_server.web.tasks.detail import read_task
from watcher_server.web.tasks.listing import read_listing
from watcher_server.web.tasks.query import LAST_PAGE, Hours, TasksView
from watcher_server.web.tasks.timing import span_text

router = page_router()
router.include_router(changes_router)


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


# A broker that does not answer must not hold up the page. The part about queues is loaded again by itself.
_PAGE_PATIENCE_SECONDS = 0.25

View = Annotated[TasksView, Query()]


@router.get("/ui/tasks")
async def show_tasks(request: Request, session: Session, view: View) -> Response:
    """Queues, workers, limits and the newest tasks."""
    queues = await request.app.state.queue_gauge.read(_PAGE_PATIENCE_SECONDS)
    return render(
        request,
        "tasks/index.html",
        **_queues(request, queues)
        | await _depths(request, session, view.hours)
        | await _workers(request, session, queues)
        | await _list(session, view),
    )


@router.get("/ui/tasks/parts/queues")
async def show_queues_part(request: Request) -> Response:
    """The queues as they are."""
    queues = await request.app.state.queue_gauge.read(patience_seconds=4.5)
    return render(request, "tasks/_queues.html", **_queues(request, queues))


@router.get("/ui/tasks/parts/depths")
async def show_depths_part(request: Request, session: Session, hours: Hours = Hours.DAY) -> Response:
    """How deep the queues were."""
    return render(request, "tasks/_depths.html", **await _depths(request, session, hours))


@router.get("/ui/tasks/parts/workers")
async def show_workers_part(request: Request, session: Session) -> Response:
    """Workers and rate limits."""
    queues = await request.app.state.queue_gauge.read(_PAGE_PATIENCE_SECONDS)
    return render(request, "tasks/_workers.html", **await _workers(request, session, queues))


@router.get("/ui/tasks/parts/list")
async def show_list_part(request: Request, session: Session, view: View) -> Response:
    """The list of tasks."""
    return render(request, "tasks/_list.html", **await _list(session, view))


@router.get("/ui/tasks/{task_id}")
async def show_task(request: Request, session: Session, task_id: str) -> Response:
    """One task, and what became of it."""
    return render(request, "tasks/task.html", facts=await read_task(session, task_id), span=span_text)


@router.get("/ui/tasks/{task_id}/part")
async def show_task_part(request: Request, session: Session, task_id: str) -> Response:
    """What changes of one task."""
    return render(request, "tasks/_facts.html", facts=await read_task(session, task_id), span=span_text)


def _queues(request: Request, queues: QueueState | None) -> dict[str, Any]:
    settings = request.app.state.settings
    loads = {} if queues is None else queues.queues
    tasks = {} if queues is None else queues.tasks
    return {
        "queues": queues,
        "levels": {name: level_of(load.pending, None, settings) for name, load in loads.items()},
        "waiting": {name: load for name, load in tasks.items() if load.pending or load.scheduled},
        "settings": settings,
        "span": span_text,
    }


async def _depths(request: Request, session: Session, hours: Hours) -> dict[str, Any]:
    return {"depths": show_depths(await read_history(session, hours, request.app.state.settings)), "hours": hours}


async def _workers(request: Request, session: Session, queues: QueueState | None) -> dict[str, Any]:
    return {
        "queues": queues,
        "workers": await ask(session, list_workers),
        "limits": await ask(session, list_limits, request.app.state.settings),
        "rate": limit_text,
        "durations": ((15, "15 minutes"), (60, "1 hour"), (240, "4 hours"), (1440, "1 day")),
    }


async def _list(session: Session, view: TasksView) -> dict[str, Any]:
    listing = await read_listing(session, view)
    parameters = view.parameters()
    url = url_builder("/ui/tasks", **parameters)
    return {
        "view": view,
        "listing": listing,
        "url": url,
        "paging": paging(url, view.page, len(listing.rows), more=listing.more and view.page < LAST_PAGE),
        "part_query": urlencode(parameters),
        "every_hours": list(Hours),
    }
