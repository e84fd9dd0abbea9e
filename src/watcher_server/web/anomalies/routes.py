"""The anomalies page: events, what to do about each, and a summary of the days."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import AwareDatetime, BaseModel
from sqlalchemy import func, select

from watcher_server.anomalies.corrections import accept_new_normal, lock_runs, unflag_anomaly
from watcher_server.anomalies.events import read_rules
from watcher_server.anomalies.models import AnomalyEvent
from watcher_server.anomalies.reflagging import lock_unflagged, reflag
from watcher_server.anomalies.rules import Metric
from watcher_server.anomalies.schemas import AcceptNewNormal, MetricField, Reflag, Unflag
from watcher_server.anomalies.service import take_back_normal
from watcher_server.database.rows import find
from watcher_server.http.session import Session
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.fields import Id
from watcher_server.web.anomalies.drawing import SPARK_HEIGHT, SPARK_WIDTH
from watcher_server.web.anomalies.query import CLEARED, AnomaliesView, EventState
from watcher_server.web.anomalies.reading import BAR_HEIGHT, BAR_WIDTH, is_quick, read_events, read_summary
from watcher_server.web.pages import back_to, page_router, render
from watcher_server.web.paging import paging, url_builder

router = page_router()

_BAR = (BAR_WIDTH, BAR_HEIGHT)

View = Annotated[AnomaliesView, Query()]
EventId = Annotated[Id, Path()]


@router.get("/ui/anomalies")
async def show_anomalies(request: Request, session: Session, view: View) -> HTMLResponse:
    """The events, newest first, with their summary; where that takes long, it is loaded after the page."""
    now = view.summary or await is_quick(session, view)
    summary = await read_summary(session, view) if now else None
    events, more = await read_events(session, view)
    url = view.url_at("/ui/anomalies")
    total = summary.events(view.day) if summary else None
    return render(
        request,
        "anomalies/index.html",
        view=view,
        url=url,
        unflagged=view.unflagged,
        summary=summary,
        rules=summary.rules if summary else None if events else await read_rules(session),
        events=events,
        paging=paging(url, view.page, len(events), total=total, more=more),
        metrics=list(Metric),
        states=list(EventState),
        every_days=(7, 30, 90),
        spark_size=(SPARK_WIDTH, SPARK_HEIGHT),
        bar_size=_BAR,
    )


@router.get("/ui/anomalies/summary")
async def show_summary(request: Request, session: Session, view: View) -> HTMLResponse:
    """The summary alone."""
    summary = await read_summary(session, view)
    url = view.url_at("/ui/anomalies")
    return render(request, "anomalies/_summary.html", view=view, url=url, summary=summary, bar_size=_BAR)


@router.post("/ui/anomalies/{event_id}/accept")
async def accept_event(request: Request, session: Session, event_id: EventId) -> Response:
    """Have the rule learn anew from the first run of the event on."""
    event = await find(session, AnomalyEvent, event_id)
    first, metric = event.first_execution_id, event.metric_field
    body = AcceptNewNormal(pipeline_id=event.pipeline_id, pipeline_execution_id=first, metric_field=[metric])
    await accept_new_normal(session, body)
    return _back(request)


@router.post("/ui/anomalies/{event_id}/unflag")
async def unflag_event(
    request: Request, session: Session, event_id: EventId, execution_id: Annotated[Id | None, Form()] = None
) -> Response:
    """Clear the flags of all runs of the event, or of one."""
    event = await find(session, AnomalyEvent, event_id)
    flagged = [execution_id] if execution_id is not None else await lock_runs(session, event_id)
    if not flagged:
        raise NotFoundError("The runs of this event are no longer kept, so there is no flag to clear.")
    pipeline_id, metric = event.pipeline_id, event.metric_field
    for run in flagged:
        await unflag_anomaly(session, Unflag(pipeline_id=pipeline_id, pipeline_execution_id=run, metric_field=[metric]))
    # The moment of the transaction, by which the flags are kept aside.
    at: datetime = (await session.execute(select(func.now()))).scalar_one()
    which = {"metric_cleared": metric, "rule_cleared": event.rule_id, "cleared_at": at.isoformat()}
    return _back(request, cleared=len(flagged), **which)


class Cleared(BaseModel):
    """Flags to put back: those of a metric that were cleared with the results of a rule at one moment."""

    rule_id: Id
    metric: MetricField
    cleared_at: AwareDatetime


@router.post("/ui/anomalies/reflag")
async def put_flags_back(request: Request, session: Session, cleared: Annotated[Cleared, Form()]) -> Response:
    """Put back the flags that were just cleared."""
    runs = await lock_unflagged(session, cleared.rule_id, cleared.cleared_at)
    if not runs:
        raise NotFoundError("These flags are there again, or their runs are no longer kept.")
    for run in runs:
        body = Reflag(pipeline_id=run.pipeline_id, pipeline_execution_id=run.id, metric_field=[cleared.metric.value])
        await reflag(session, body)
    return _back(request)


@router.post("/ui/anomalies/{event_id}/take-back")
async def take_back(request: Request, session: Session, event_id: EventId) -> Response:
    """Have the level of an accepted event be no normal after all: the normal from before holds again."""
    event = await find(session, AnomalyEvent, event_id)
    await take_back_normal(session, event.rule_id, event)
    return _back(request)


def _back(request: Request, **more: Any) -> Response:
    """To the page as it was: the address of a form carries the page's own query."""
    kept = {name: value for name, value in request.query_params.items() if name not in CLEARED}
    return back_to(request, url_builder("/ui/anomalies", **kept)(**more))
