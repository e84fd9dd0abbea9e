"""Registering a pipeline over HTTP: the pipeline itself, and its anomaly detection rules when it is new."""

from fastapi import APIRouter, Request, Response

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.pipelines.schemas import PipelinePost, PipelineSynced
from watcher_server.registration.service import register

router = APIRouter(route_class=JsonRoute)


@router.post("/pipeline", status_code=201, tags=["pipelines"], responses={200: {"model": PipelineSynced}})
async def post_pipeline(body: PipelinePost, session: Session, request: Request, response: Response) -> PipelineSynced:
    """Get or create a pipeline by name: 201 when it was created, 200 when it existed."""
    pipeline, created = await register(session, body, app_state(request).settings)
    response.status_code = 201 if created else 200
    asked = "next_watermark" in body.model_fields_set
    return PipelineSynced(
        id=pipeline.id,
        active=pipeline.active,
        load_lineage=pipeline.load_lineage,
        watermark=pipeline.watermark if asked else None,
    )
