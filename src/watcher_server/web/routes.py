"""The pages that show what the API knows."""

from operator import attrgetter
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.addresses.service import list_addresses
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id
from watcher_server.kit.listing import Page
from watcher_server.lineage.graph import read_graph
from watcher_server.lineage.schemas import Direction, LineageGraph
from watcher_server.reporting import service as reporting
from watcher_server.reporting.schemas import ReportQuery
from watcher_server.web.pages import STYLESHEET, render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)

# A page with more rows helps nobody; the API has them all.
_MOST_EDGES = 1_000


@router.get("/static/watcher.css")
async def get_stylesheet() -> FileResponse:
    """What every page looks like."""
    return FileResponse(STYLESHEET, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


@router.get("/reporting")
async def show_reporting(request: Request, query: Annotated[ReportQuery, Depends()], session: Session) -> HTMLResponse:
    """The daily metrics, with filters and pages in the query string."""
    report = await reporting.report_daily_metrics(session, query)
    pages = report.pagination
    return render(
        request,
        "reporting.html",
        query=query,
        report=report,
        pipeline_names=await reporting.list_pipeline_names(session),
        type_names=await reporting.list_pipeline_type_names(session),
        first_page=_page_url(query, 1),
        previous_page=_page_url(query, query.page - 1) if pages.has_prev else None,
        next_page=_page_url(query, query.page + 1) if pages.has_next else None,
    )


def _page_url(query: ReportQuery, page: int) -> str:
    parameters = {
        "pipeline_name": query.pipeline_name or "",
        "pipeline_type_name": query.pipeline_type_name or "",
        "days": query.days,
        "page_size": query.page_size,
        "page": page,
    }
    return f"/reporting?{urlencode(parameters)}"


@router.get("/lineage-graph")
async def show_lineage(request: Request, session: Session, source_address_id: Id | None = None) -> HTMLResponse:
    """What feeds an address, and what it feeds."""
    addresses = await list_addresses(session, Page())
    chosen = next((address for address in addresses if address.id == source_address_id), None)
    upstream = await _read_graph(session, chosen, Direction.UPSTREAM)
    downstream = await _read_graph(session, chosen, Direction.DOWNSTREAM)
    return render(
        request,
        "lineage.html",
        addresses=sorted(addresses, key=attrgetter("name")),
        names={node.id: node.name for graph in (upstream, downstream) for node in graph.nodes},
        asked=source_address_id is not None,
        chosen=chosen,
        upstream=upstream.edges[:_MOST_EDGES],
        downstream=downstream.edges[:_MOST_EDGES],
        most=_MOST_EDGES,
    )


async def _read_graph(session: AsyncSession, chosen: Address | None, direction: Direction) -> LineageGraph:
    if chosen is None:
        return LineageGraph(nodes=[], edges=[])
    return await read_graph(session, chosen.id, direction, depth=None)
