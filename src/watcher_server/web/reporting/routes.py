"""The reporting page, its parts, and its rows as a file."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from watcher_server.http.session import Session
from watcher_server.kit.fields import SearchText
from watcher_server.reporting import service as reporting
from watcher_server.reporting.report import read_extent
from watcher_server.web.pages import back_to, page_router, render
from watcher_server.web.reporting.download import file_name, write_days
from watcher_server.web.reporting.query import DEFAULT_PAGE_SIZE, ReportView
from watcher_server.web.reporting.reading import MOST_TOTALS, ReportPage, is_quick, read_page, read_summary

router = page_router()

View = Annotated[ReportView, Query()]


@router.get("/reporting")
async def show_reporting(request: Request, session: Session, view: View) -> HTMLResponse:
    """The daily metrics, newest first, with their summary; where that takes long, it is loaded after the page."""
    extent = await read_extent(session, view.names())
    quick = view.summary or is_quick(view, extent)
    page = await read_page(session, view, extent)
    url = view.url_at("/reporting")
    everything = view.model_copy(update={"after": None, "before": None, "summary": False, "page_size": 50})
    return render(
        request,
        "reporting/index.html",
        view=view,
        url=url,
        span=view.span(extent.today),
        extent=extent,
        summary=await read_summary(session, view, extent) if quick else None,
        page=page,
        behind=extent.days_behind,
        **_neighbours(view, page, url),
        download_url=everything.url_at("/reporting/daily-pipeline-metrics.csv")(),
        type_names=await reporting.list_pipeline_type_names(session),
        has_pipelines=bool(page.rows) or await reporting.has_pipelines(session),
        most_totals=MOST_TOTALS,
        every_days=(7, 14, 30),
        every_size=(25, DEFAULT_PAGE_SIZE, 100, 250),
    )


@router.get("/reporting/summary")
async def show_summary(request: Request, session: Session, view: View) -> HTMLResponse:
    """The summary alone."""
    extent = await read_extent(session, view.names())
    summary = await read_summary(session, view, extent)
    return render(
        request,
        "reporting/_summary.html",
        view=view,
        url=view.url_at("/reporting"),
        extent=extent,
        summary=summary,
        most_totals=MOST_TOTALS,
    )


@router.get("/reporting/names")
async def complete_name(request: Request, session: Session, pipeline_name: SearchText = "") -> HTMLResponse:
    """Names of pipelines, as what a field offers to complete."""
    names = await reporting.complete_pipeline_name(session, pipeline_name) if pipeline_name else ()
    return render(request, "reporting/_names.html", names=names)


@router.get("/reporting/daily-pipeline-metrics.csv")
async def download(request: Request, session: Session, view: View) -> Response:
    """Every row that matches, whatever page is shown."""
    extent = await read_extent(session, view.names())
    days = view.period(extent.today)
    headers = {"Content-Disposition": f'attachment; filename="{file_name(days)}"', "Cache-Control": "no-store"}
    lines = write_days(request.app.state.query_engine, view, days)
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/reporting/sum-days")
async def sum_days(request: Request, session: Session) -> Response:
    """Sum the past days now rather than within the hour."""
    await reporting.queue_daily_metrics(session)
    request.app.state.relay.wake()
    query = request.url.query
    return back_to(request, f"/reporting?{query}" if query else "/reporting")


def _neighbours(view: ReportView, page: ReportPage, url: Callable[..., str]) -> dict[str, Any]:
    if not page.rows:
        return {"newer_url": None, "older_url": None}
    first, last = (f"{row.date_recorded}/{row.pipeline_name}" for row in (page.rows[0], page.rows[-1]))
    return {
        "newer_url": url(before=first, after=None) if page.newer else None,
        "older_url": url(after=last, before=None) if page.older else None,
    }
