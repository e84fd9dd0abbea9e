"""The anomalies page: events, what to do about each, and a summary of the days."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from watcher_server.anomalies.corrections import accept_new_normal, lock_runs, unflag_anomaly
from watcher_server.anomalies.events import read_rules
from watcher_server.anomalies.models import AnomalyEvent
from watcher_server.anomalies.rules import Metric
from watcher_server.anomalies.schemas import AcceptNewNormal, Unflag
from watcher_server.database.rows import find
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.fields import Id
from watcher_server.web.anomalies.drawing import SPARK_HEIGHT, SPARK_WIDTH
from watcher_server.web.anomalies.query import AnomaliesView, EventState
from watcher_server.web.anomalies.reading import BAR_HEIGHT, BAR_WIDTH, is_quick, read_events, read_summary
from watcher_server.web.pages import back_to, render
from watcher_server.web.paging import paging, url_builder

router = APIRouter(route_class=JsonRoute, include_in_schema=False)

_BAR = (BAR_WIDTH, BAR_HEIGHT)

View = Annotated[AnomaliesView, Query()]
EventId = Annotated[Id, Path()]


@router.get("/ui/anomalies")
async def show_anomalies(request: Request, session: Session, view: View) -> HTMLResponse:
    """The events, newest first, with their summary; where that takes long, it is loaded after the page."""
    now = view.summary or await is_quick(session, view)
    summary = await read_summary(session, view) if now else None
    events, more = await read_events(session, view)
    url = _url(view)
    total = summary.events(view.day) if summary else None
    return render(
        request,
        "anomalies/index.html",
        view=view,
        url=url,
        summary=summary,
        rules=summary.rules if summary else None if events else await read_rules(session),
        events=events,
        paging=paging(url, view.page, len(events), total=total, more=more),
        metrics=list(Metric),
        states=list(EventState),
        every_days=(7, 30, 90),
        origin=str(request.base_url).rstrip("/"),
        spark_size=(SPARK_WIDTH, SPARK_HEIGHT),
        bar_size=_BAR,
    )


@router.get("/ui/anomalies/summary")
async def show_summary(request: Request, session: Session, view: View) -> HTMLResponse:
    """The summary alone."""
    summary = await read_summary(session, view)
    return render(request, "anomalies/_summary.html", view=view, url=_url(view), summary=summary, bar_size=_BAR)


def _url(view: AnomaliesView) -> Any:
    return url_builder("/ui/anomalies", **view.parameters())


@router.post("/ui/anomalies/{event_id}/accept")
async def accept_event(request: Request, session: Session, event_id: EventId) -> Response:
    """Have the rule learn anew from the first run of the event on."""
    event = await find(session, AnomalyEvent, event_id)
    await accept_new_normal(
        session,
        AcceptNewNormal(
            pipeline_id=event.pipeline_id,
            pipeline_execution_id=event.first_execution_id,
            metric_field=[event.metric_field],
        ),
    )
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
    for run in flagged:
        await unflag_anomaly(
            session,
            Unflag(pipeline_id=event.pipeline_id, pipeline_execution_id=run, metric_field=[event.metric_field]),
        )
    return _back(request)


def _back(request: Request) -> Response:
    """To the page as it was: the address of a form carries the page's own query."""
    query = request.url.query
    return back_to(request, f"/ui/anomalies?{query}" if query else "/ui/anomalies")
