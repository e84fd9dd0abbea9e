"""What Watcher knows of pipelines and their types."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.rules import create_rules_for_all_metrics
from watcher_server.kit.configuration import apply_changes, find, find_for_update, get_or_create
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.fingerprint import fingerprint
from watcher_server.kit.listing import Page, contains
from watcher_server.kit.thresholds import check_pairs_stored
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.pipelines.schemas import PipelinePatch, PipelinePost, PipelineTypePatch, PipelineTypePost
from watcher_server.pipelines.states import PipelineState, find_with_state
from watcher_server.schedules.planning import plan_change, plan_new


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
    pipeline, created = await _find_unchanged(session, body.name, mark), False
    if pipeline is None:
        pipeline, created = await _write_pipeline(session, body, mark)
    if created and create_rules:
        await create_rules_for_all_metrics(session, pipeline.id)
    if "next_watermark" in carried and pipeline.next_watermark != body.next_watermark:
        await _store_next_watermark(session, pipeline.id, body.next_watermark)
    return pipeline, created


async def _find_unchanged(session: AsyncSession, name: str, mark: str) -> Pipeline | None:
    """The pipeline, if the last body it was given is this one: the usual case, one read without a lock."""
    statement = select(Pipeline).where(Pipeline.name == name, Pipeline.fingerprint == mark)
    pipeline: Pipeline | None = await session.scalar(statement)
    return pipeline


async def _write_pipeline(session: AsyncSession, body: PipelinePost, mark: str) -> tuple[Pipeline, bool]:
    # The type is only referred to, so it is not locked: a PATCH of the pipeline locks in the other order.
    pipeline_type, _ = await get_or_create(session, PipelineType, {"name": body.pipeline_type_name}, {}, lock=False)
    values = {name: value for name, value in body.carried().items() if name not in {"name", "pipeline_type_name"}}
    values |= {"pipeline_type_id": pipeline_type.id, "fingerprint": mark}
    pipeline, created = await get_or_create(session, Pipeline, {"name": body.name}, values | plan_new(values))
    if not created and pipeline.fingerprint != mark:
        await _change(session, pipeline, values | plan_change(pipeline, values))
    return pipeline, created


async def _store_next_watermark(session: AsyncSession, pipeline_id: int, value: str | None) -> None:
    await session.execute(update(Pipeline).where(Pipeline.id == pipeline_id).values(next_watermark=value))


async def patch_pipeline(session: AsyncSession, body: PipelinePatch) -> Row[Any]:
    """Change what the body carries.

    Raises:
        NotFoundError: no such pipeline, or no such pipeline type.
        NameTakenError: the new name belongs to another pipeline.
        InvalidFieldError: the change would leave half a threshold pair.
    """
    pipeline = await find_for_update(session, Pipeline, body.id, body.name)
    changes = body.changes()
    if "pipeline_type_id" in changes:
        await find(session, PipelineType, changes["pipeline_type_id"])
    if "watermark" in changes:
        changes["watermark_start_date"] = None
    await _change(session, pipeline, changes | plan_change(pipeline, changes))
    return await find_pipeline(session, pipeline.id)


async def patch_pipeline_type(session: AsyncSession, body: PipelineTypePatch) -> PipelineType:
    """Change what the body carries; raises as :func:`patch_pipeline` does."""
    pipeline_type = await find_for_update(session, PipelineType, body.id, body.name)
    await _change(session, pipeline_type, body.changes())
    return pipeline_type


async def _change(session: AsyncSession, row: Pipeline | PipelineType, changes: dict[str, Any]) -> None:
    for field, value in changes.items():
        setattr(row, field, value)
    # Before anything is written: the table would refuse half a pair too, but could not say which half is missing.
    check_pairs_stored(row)
    await apply_changes(session, row, changes)


async def sync_pipeline_type(session: AsyncSession, body: PipelineTypePost) -> tuple[PipelineType, bool]:
    """Get or create the type, writing what differs; whether it was created.

    Raises:
        InvalidFieldError: the change would leave half a threshold pair.
    """
    values = {name: value for name, value in body.carried().items() if name != "name"}
    row, created = await get_or_create(session, PipelineType, {"name": body.name}, values)
    changes = {name: value for name, value in values.items() if getattr(row, name) != value}
    if changes and not created:
        await _change(session, row, changes)
    return row, created


async def find_pipeline(session: AsyncSession, pipeline_id: int) -> Row[Any]:
    """The columns of that pipeline, and its state.

    Raises:
        NotFoundError: there is none.
    """
    found = await find_with_state(session, pipeline_id=pipeline_id)
    if not found:
        raise NotFoundError(f"No pipeline has the id {pipeline_id}.")
    return found[0]


async def list_pipelines(
    session: AsyncSession,
    page: Page,
    *,
    name: str | None,
    pipeline_type_id: int | None,
    active: bool | None,
    state: PipelineState | None,
) -> Sequence[Row[Any]]:
    """The columns of each pipeline and its state, by id; ``name`` matches any part of a name."""
    return await find_with_state(
        session,
        name=contains(name) if name else None,
        pipeline_type_id=pipeline_type_id,
        active=active,
        state=state,
        limit=page.limit,
        offset=page.offset,
    )


async def list_pipeline_types(session: AsyncSession, page: Page, *, name: str | None) -> Sequence[PipelineType]:
    """Pipeline types by id; ``name`` matches any part of a name."""
    statement = select(PipelineType).order_by(PipelineType.id)
    if name:
        statement = statement.where(PipelineType.name.like(contains(name)))
    return (await session.scalars(page.of(statement))).all()
