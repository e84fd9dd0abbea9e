"""Metrics over HTTP."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.metrics.service import TargetGroup, expose_metrics, find_scrape_targets

router = APIRouter(prefix="/metrics", tags=["metrics"])


@router.get("", response_class=PlainTextResponse)
async def get_metrics(request: Request) -> Response:
    """Queues, workers, limits and checks, for Prometheus; status 200 also while database or broker are away."""
    state = request.app.state
    content, content_type = await expose_metrics(state.query_engine, state.settings, request.headers.get("accept", ""))
    return Response(content, media_type=content_type)


@router.get("/targets")
async def get_targets(session: Session) -> list[TargetGroup]:
    """The ports of the living workers, for Prometheus' `http_sd_config`."""
    return await ask(session, find_scrape_targets)
