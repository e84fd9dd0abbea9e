"""The anomalies page: events, what to do about each, and a summary of the days."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from watcher_server.anomalies.rules import Metric
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.web.anomalies.changes import router as changes_router
from watcher_server.web.anomalies.drawing import SPARK_HEIGHT, SPARK_WIDTH
from watcher_server.web.anomalies.query import AnomaliesView, EventState
from watcher_server.web.anomalies.reading import read_events
from watcher_server.web.anomalies.summary import BAR_HEIGHT, BAR_WIDTH, is_quick, read_rules, read_summary
from watcher_server.web.pages import render
from watcher_server.web.paging import paging, url_builder

router = APIRouter(route_class=JsonRoute, include_in_schema=False)
router.include_router(changes_router)

_EVERY_DAYS = (7, 30, 90)
_SPARK = (SPARK_WIDTH, SPARK_HEIGHT)
_BAR = (BAR_WIDTH, BAR_HEIGHT)

View = Annotated[AnomaliesView, Query()]


@router.get("/ui/anomalies")
async def show_anomalies(request: Request, session: Session, view: View) -> HTMLResponse:
    """The events, newest first; their summary where it is quick, else it comes after the page."""
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
        every_days=_EVERY_DAYS,
        origin=str(request.base_url).rstrip("/"),
        spark_size=_SPARK,
        bar_size=_BAR,
    )


@router.get("/ui/anomalies/summary")
async def show_summary(request: Request, session: Session, view: View) -> HTMLResponse:
    """The summary alone."""
    summary = await read_summary(session, view)
    return render(request, "anomalies/summary.html", view=view, url=_url(view), summary=summary, bar_size=_BAR)


def _url(view: AnomaliesView) -> Any:
    return url_builder("/ui/anomalies", **view.parameters())
