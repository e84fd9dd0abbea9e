"""The page of one execution."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from fastapi import Path, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.reading import Told, read_alerts_of_executions
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyEvent
from watcher_server.anomalies.service import list_findings
from watcher_server.database.asking import ask
from watcher_server.executions import reading as executions
from watcher_server.executions.clocks import shown_dates
from watcher_server.executions.models import PipelineExecution
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id
from watcher_server.openlineage.pages import SHOWN_NAMES
from watcher_server.openlineage.pages import read_run as read_said
from watcher_server.tasking.history.schemas import TaskQuery
from watcher_server.tasking.history.service import list_tasks
from watcher_server.tasking.history.states import FINAL_STATES
from watcher_server.timeliness.models import TimelinessExecutionLog
from watcher_server.web.executions import chart, facts
from watcher_server.web.pages import is_part, page_router, render
from watcher_server.web.paging import FormQuery, url_builder

router = page_router()


class Findings(NamedTuple):
    """Anomalies by metric with their events, overdue entries in the order of the checks, and the alerts about it."""

    anomalies: Sequence[tuple[AnomalyDetectionResult, AnomalyEvent | None]]
    overdue: Sequence[TimelinessExecutionLog]
    told: Sequence[Told]


async def read_findings(session: AsyncSession, execution_id: int) -> Findings:
    """What the checks found about this execution."""
    log = TimelinessExecutionLog
    # By the unique key (execution, severity).
    overdue = select(log).where(log.pipeline_execution_id == execution_id).order_by(log.id)
    entries = (await session.scalars(overdue)).all()
    told = [each.told for each in await read_alerts_of_executions(session, [execution_id])]
    return Findings(await list_findings(session, execution_id), entries, told)


class ExecutionView(FormQuery):
    """What of the tree is shown: from the execution down or the whole of it, and which page of its lanes."""

    tree: Literal["below", "whole"] | None = None
    lanes: Annotated[int, Field(ge=1, le=1_000)] | None = None


@router.get("/ui/executions/{execution_id}")
async def show_execution(
    request: Request, session: Session, execution_id: Annotated[Id, Path()], view: Annotated[ExecutionView, Query()]
) -> HTMLResponse:
    """One run of a pipeline: what it did, what it called, what was found, and what it caused."""
    run, context = await executions.read_run(session, execution_id)
    callers = await executions.read_callers(session, run)
    before, after = await executions.read_beside(session, run)
    anomalous = await executions.read_anomalous_metrics(session, [one.id for one in (run, before) if one])
    shown, gantt = await _draw(session, run, callers[0].id if callers else run.id, view, context.now)
    tasks = (await ask(session, list_tasks, TaskQuery(pipeline_execution_id=execution_id, limit=50))).tasks
    said = await read_said(session, run)
    is_live = run.end_date is None or gantt.is_running or any(task.state not in FINAL_STATES for task in tasks)
    return render(
        request,
        "executions/_live.html" if is_part(request) else "executions/index.html",
        run=run,
        context=context,
        status=facts.status_of_run(run, anomalous[run.id]),
        dates=shown_dates(run),
        clock=facts.describe_clock(run),
        seconds=facts.seconds_of(run, context.now),
        timeliness=facts.judge_timeliness(run, context),
        comparisons=facts.compare(run, before, context.now, anomalous[run.id]),
        said=said,
        metadata=facts.read_metadata(run.execution_metadata, without=SHOWN_NAMES if said else ()),
        output=facts.last_lines(await executions.read_output(session, execution_id)),
        callers=callers,
        before=before,
        after=after,
        status_before=None if before is None else facts.status_of_run(before, anomalous[before.id]),
        shown=shown,
        gantt=gantt,
        findings=await read_findings(session, execution_id),
        tasks=tasks,
        live_seconds=5 if is_live else None,
        url=url_builder(request.url.path, tree=view.tree, lanes=view.lanes),
    )


async def _draw(
    session: AsyncSession, run: PipelineExecution, root: int, view: ExecutionView, now: datetime
) -> tuple[str, chart.Chart]:
    """Which tree is shown, below or whole, and its chart. A run that called nothing is shown among its siblings."""
    shown = view.tree or "below"
    tree = await executions.read_tree(session, root if shown == "whole" else run.id)
    if view.tree is None and len(tree.order) == 1 and root != run.id:
        shown, tree = "whole", await executions.read_tree(session, root)
    return shown, chart.draw(tree, run.id, view.lanes or chart.page_of(tree, run.id), now)
