"""Reporting over HTTP."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Refreshed
from watcher_server.reporting import service
from watcher_server.reporting.schemas import DailyMetricsPage, ReportQuery

router = APIRouter(route_class=JsonRoute, tags=["reporting"])


@router.get("/reporting/daily-pipeline-metrics")
async def get_daily_pipeline_metrics(query: Annotated[ReportQuery, Depends()], session: Session) -> DailyMetricsPage:
    """What each pipeline did on each day (UTC), newest day first."""
    return await service.report_daily_metrics(session, query)


@router.get("/reporting/pipeline-names")
async def get_pipeline_names(session: Session) -> Sequence[str]:
    """Every pipeline's name."""
    return await service.list_pipeline_names(session)


@router.get("/reporting/pipeline-type-names")
async def get_pipeline_type_names(session: Session) -> Sequence[str]:
    """Every pipeline type's name."""
    return await service.list_pipeline_type_names(session)


@router.post("/reporting/refresh")
async def refresh_reporting(session: Session, request: Request) -> Refreshed:
    """Sum past days now rather than within the hour; the figures are exact either way."""
    await service.queue_daily_metrics(session)
    request.app.state.relay.wake()
    return Refreshed(status="success", message="The figures are live; days that are over are being summed.")
