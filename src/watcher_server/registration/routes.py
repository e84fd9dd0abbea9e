"""Registering a pipeline over HTTP: the pipeline itself, and its anomaly detection rules when it is new."""

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.http.idempotency import has_claim
from watcher_server.http.ingest_route import KeyedIngestRoute, json_answer
from watcher_server.http.session import ask_at_once, in_transaction
from watcher_server.http.state import app_state
from watcher_server.pipelines import usual
from watcher_server.pipelines.schemas import PipelinePost, PipelineSynced
from watcher_server.registration.service import register

ingest_router = APIRouter(route_class=KeyedIngestRoute)


@ingest_router.post(
    "/pipeline",
    status_code=201,
    tags=["pipelines"],
    response_model=PipelineSynced,
    responses={200: {"model": PipelineSynced}},
)
async def post_pipeline(body: PipelinePost, request: Request) -> Response:
    """Get or create a pipeline by name: 201 when it was created, 200 when it existed."""
    if not has_claim(request):
        unchanged = await ask_at_once(request, lambda connection: usual.sync_unchanged(connection, body))
        if unchanged is not None:
            return json_answer(unchanged)

    async def write(session: AsyncSession) -> Response:
        pipeline, created = await register(session, body, app_state(request).settings)
        asked = "next_watermark" in body.model_fields_set
        synced = PipelineSynced(
            id=pipeline.id,
            active=pipeline.active,
            load_lineage=pipeline.load_lineage,
            watermark=pipeline.watermark if asked else None,
        )
        return json_answer(synced, 201 if created else 200)

    return await in_transaction(request, write)
