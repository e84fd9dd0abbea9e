"""What Watcher knows of pipelines and their types."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.rules import create_rules_for_all_metrics
from watcher_server.kit.configuration import apply_changes, find_for_update, get_or_create
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.fingerprint import fingerprint
from watcher_server.kit.listing import Page, contains
from watcher_server.kit.thresholds import check_pairs_stored
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.pipelines.schemas import PipelinePatch, PipelinePost, PipelineTypePatch, PipelineTypePost

Row = TypeVar("Row", Pipeline, PipelineType)


async def sync_pipeline(
    session: AsyncSession, body: PipelinePost, *, create_rules: bool = False
) -> tuple[Pipeline, bool]:
    """Get or create the pipeline; whether it was created.

    A body that differs from the last one updates the row. ``next_watermark`` is no part of that: it changes with
    every run, is stored whenever it is carried, and does not touch ``updated_at``.

    Raises:
        InvalidFieldError: the change would leave half a threshold pair.
    """
    carried = body.carried()
    mark = fingerprint({name: value for name, value in carried.items() if name != "next_watermark"})
    pipeline = await _find_unchanged(session, body.name, mark)
    created = False
    if pipeline is None:
        values = {name: value for name, value in carried.items() if name not in {"name", "pipeline_type_name"}}
        pipeline_type, _ = await get_or_create(session, PipelineType, body.pipeline_type_name, {})
        values |= {"pipeline_type_id": pipeline_type.id, "fingerprint": mark}
        pipeline, created = await get_or_create(session, Pipeline, body.name, values)
        if created and create_rules:
            await create_rules_for_all_metrics(session, pipeline.id)
        if not created and pipeline.fingerprint != mark:
            await apply_changes(session, pipeline, values)
            check_pairs_stored(pipeline)
    if "next_watermark" in carried and pipeline.next_watermark != body.next_watermark:
        await _store_next_watermark(session, pipeline.id, body.next_watermark)
    return pipeline, created


async def _find_unchanged(session: AsyncSession, name: str, mark: str) -> Pipeline | None:
    """The pipeline, if the last body it was given is this one: the usual case, one read without a lock."""
    statement = select(Pipeline).where(Pipeline.name == name, Pipeline.fingerprint == mark)
    pipeline: Pipeline | None = await session.scalar(statement)
    return pipeline


async def _store_next_watermark(session: AsyncSession, pipeline_id: int, value: str | None) -> None:
    await session.execute(update(Pipeline).where(Pipeline.id == pipeline_id).values(next_watermark=value))


async def patch_pipeline(session: AsyncSession, body: PipelinePatch) -> Pipeline:
    """Change what the body carries.

    Raises:
        NotFoundError: no such pipeline, or no such pipeline type.
        NameTakenError: the new name belongs to another pipeline.
        InvalidFieldError: the change would leave half a threshold pair.
    """
    pipeline = await find_for_update(session, Pipeline, body.id, body.name)
    changes = body.changes()
    if "pipeline_type_id" in changes:
        await find_pipeline_type(session, changes["pipeline_type_id"])
    return await _patch(session, pipeline, changes)


async def patch_pipeline_type(session: AsyncSession, body: PipelineTypePatch) -> PipelineType:
    """Change what the body carries; raises as :func:`patch_pipeline` does."""
    pipeline_type = await find_for_update(session, PipelineType, body.id, body.name)
    return await _patch(session, pipeline_type, body.changes())


async def _patch(session: AsyncSession, row: Row, changes: dict[str, Any]) -> Row:
    for field, value in changes.items():
        setattr(row, field, value)
    check_pairs_stored(row)
    await apply_changes(session, row, changes)
    return row


async def sync_pipeline_type(session: AsyncSession, body: PipelineTypePost) -> tuple[PipelineType, bool]:
    """Get or create the type, writing what differs; whether it was created."""
    values = {name: value for name, value in body.carried().items() if name != "name"}
    row, created = await get_or_create(session, PipelineType, body.name, values)
    changes = {name: value for name, value in values.items() if getattr(row, name) != value}
    if changes and not created:
        await apply_changes(session, row, changes)
    return row, created


async def find_pipeline(session: AsyncSession, pipeline_id: int) -> Pipeline:
    """The pipeline.

    Raises:
        NotFoundError: there is none with that id.
    """
    pipeline = await session.get(Pipeline, pipeline_id)
    if pipeline is None:
        raise NotFoundError(f"No pipeline has the id {pipeline_id}.")
    return pipeline


async def find_pipeline_type(session: AsyncSession, pipeline_type_id: int) -> PipelineType:
    """The pipeline type.

    Raises:
        NotFoundError: there is none with that id.
    """
    pipeline_type = await session.get(PipelineType, pipeline_type_id)
    if pipeline_type is None:
        raise NotFoundError(f"No pipeline type has the id {pipeline_type_id}.")
    return pipeline_type


async def list_pipelines(
    session: AsyncSession, page: Page, *, name: str | None, pipeline_type_id: int | None, active: bool | None
) -> Sequence[Pipeline]:
    """Pipelines by id; ``name`` matches any part of a name."""
    statement = select(Pipeline).order_by(Pipeline.id)
    if name:
        statement = statement.where(Pipeline.name.like(contains(name)))
    if pipeline_type_id is not None:
        statement = statement.where(Pipeline.pipeline_type_id == pipeline_type_id)
    if active is not None:
        statement = statement.where(Pipeline.active == active)
    return (await session.scalars(page.of(statement))).all()


async def list_pipeline_types(session: AsyncSession, page: Page, *, name: str | None) -> Sequence[PipelineType]:
    """Pipeline types by id; ``name`` matches any part of a name."""
    statement = select(PipelineType).order_by(PipelineType.id)
    if name:
        statement = statement.where(PipelineType.name.like(contains(name)))
    return (await session.scalars(page.of(statement))).all()
