"""Registering a pipeline: the pipeline itself, and its anomaly detection rules when it is new."""

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.rules import create_rules_for_all_metrics
from watcher_server.pipelines.models import Pipeline
from watcher_server.pipelines.schemas import PipelinePost
from watcher_server.pipelines.service import sync_pipeline
from watcher_server.settings import Settings


async def register(session: AsyncSession, body: PipelinePost, settings: Settings) -> tuple[Pipeline, bool]:
    """Get or create the pipeline; whether it was created. Raises what :func:`sync_pipeline` does."""
    pipeline, created = await sync_pipeline(session, body)
    if created and settings.auto_create_anomaly_detection_rules:
        await create_rules_for_all_metrics(session, pipeline.id)
    return pipeline, created
