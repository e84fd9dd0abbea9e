"""The page of one execution."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, BeforeValidator, Field
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id
from watcher_server.task_history.schemas import TaskQuery
from watcher_server.task_history.service import Task, list_tasks
from watcher_server.task_history.states import FINAL_STATES
from watcher_server.web.executions import chart, facts, findings, metadata, reading
from watcher_server.web.executions.tree import Tree, read_names, read_tree
from watcher_server.web.pages import is_part, render
from watcher_server.web.paging import url_builder

router = APIRouter(route_class=JsonRoute, include_in_schema=False)

_LIVE_SECONDS = 5
_MOST_TASKS = 50
_MOST_PAGES = 1_000


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


class ExecutionView(BaseModel):
    """What of the tree is shown: from the execution down or the whole of it, and which page of its lanes."""

    tree: Annotated[Literal["below", "whole"] | None, BeforeValidator(_none_if_empty)] = None
    lanes: Annotated[Annotated[int, Field(ge=1, le=_MOST_PAGES)] | None, BeforeValidator(_none_if_empty)] = None


@router.get("/ui/executions/{execution_id}")
async def show_execution(
    request: Request, session: Session, execution_id: Annotated[Id, Path()], view: Annotated[ExecutionView, Query()]
) -> HTMLResponse:
    """One run of a pipeline: what it did, what it called, what was found, and what it caused."""
    run = await reading.read_run(session, execution_id)
    ancestors = await reading.read_ancestors(session, run)
    beside = await reading.read_beside(session, run)
    shown, gantt = await _draw(session, run, ancestors[0].id if ancestors else run.id, view)
    tasks = await _read_tasks(session, execution_id)
    return render(
        request,
        "executions/part.html" if is_part(request) else "executions/page.html",
        run=run,
        status=reading.status_of_run(run),
        seconds=facts.seconds_of(run, run.now),
        timeliness=facts.judge_timeliness(run),
        comparisons=facts.compare(run, beside.before),
        metadata=metadata.read_metadata(run.execution_metadata),
        ancestors=ancestors,
        beside=beside,
        status_before=None if beside.before is None else reading.status_of_run(beside.before),
        shown=shown,
        gantt=gantt,
        findings=await findings.read_findings(session, execution_id),
        tasks=tasks,
        live_seconds=_LIVE_SECONDS if _is_live(run, gantt, tasks) else None,
        url=url_builder(request.url.path, tree=view.tree, lanes=view.lanes),
    )


async def _draw(session: AsyncSession, run: Row[Any], root: int, view: ExecutionView) -> tuple[str, chart.Chart]:
    """Which tree is shown, below or whole, and its chart. A run that called nothing is shown among its siblings."""
    shown = view.tree or "below"
    tree = await read_tree(session, root if shown == "whole" else run.id)
    if view.tree is None and len(tree.order) == 1 and root != run.id:
        shown, tree = "whole", await read_tree(session, root)
    page = view.lanes or chart.page_of(tree, run.id)
    names = await _read_lane_names(session, tree, page)
    return shown, chart.draw(tree, run.id, page, lambda pipeline_id: names[pipeline_id], run.now)


async def _read_lane_names(session: AsyncSession, tree: Tree, page: int) -> dict[int, str]:
    first = (page - 1) * chart.LANES
    return await read_names(session, (node.pipeline_id for node, _ in tree.order[first : first + chart.LANES]))


async def _read_tasks(session: AsyncSession, execution_id: int) -> list[Task]:
    connection = await session.connection()
    query = TaskQuery(pipeline_execution_id=execution_id, limit=_MOST_TASKS)
    return (await connection.run_sync(list_tasks, query)).tasks


def _is_live(run: Row[Any], gantt: chart.Chart, tasks: list[Task]) -> bool:
    under_way = any(task.state not in FINAL_STATES for task in tasks)
    return run.end_date is None or gantt.is_running or under_way
