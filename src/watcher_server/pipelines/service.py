"""Pipelines and their types: getting or creating, changing, listing."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, any_, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from watcher_server.alerts.config.declared import check_pipelines_declared
from watcher_server.audit.service import Change, record_in
from watcher_server.database.parts import read_parts
from watcher_server.database.rows import apply_changes, find, find_for_update, get_or_create
from watcher_server.kit.errors import InvalidFieldError, NotFoundError
from watcher_server.kit.fingerprint import fingerprint
from watcher_server.kit.listing import Page, contains, list_statement
from watcher_server.kit.names import display_of
from watcher_server.kit.thresholds import check_pairs_stored
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.pipelines.schemas import PipelinePatch, PipelinePost, PipelineTypePatch, PipelineTypePost
from watcher_server.pipelines.status import PipelineState, Word, select_with_status
from watcher_server.schedules.planning import plan_change, plan_new
from watcher_server.tasking.sending.outbox import enqueue_async
from watcher_server.tasking.wire import SCHEDULED_QUEUE

# What follows from other fields, or tells of runs: no change that a person made.
_DERIVED = frozenset({"fingerprint", "display_name", "expected_next_run", "last_missed_run", "due_since"})
# Brings back the edges and the schedule of what was taken out of the archive.
REVIVE_TASK = "revive_task"


async def sync_pipeline(session: AsyncSession, body: PipelinePost) -> tuple[Pipeline, bool]:
    """Get or create the pipeline; whether it was created.

    A body that differs from the last one updates the row. ``next_watermark`` is not compared: it changes with every
    run, is stored whenever the body carries it, and leaves ``updated_at`` as it is.

    Raises:
        InvalidFieldError: the change would leave half a threshold pair.
    """
    carried = body.carried()
    mark = mark_of(carried)
    # Usually the last body was the same: then one read without a lock is enough.
    unchanged = select(Pipeline).where(
        Pipeline.name == body.name, Pipeline.fingerprint == mark, Pipeline.archived_at.is_(None)
    )
    pipeline, created = await session.scalar(unchanged), False
    if pipeline is None:
        pipeline, created = await _write_pipeline(session, body, mark)
    if "next_watermark" in carried and pipeline.next_watermark != body.next_watermark:
        changed = update(Pipeline).where(Pipeline.id == pipeline.id).values(next_watermark=body.next_watermark)
        await session.execute(changed)
    return pipeline, created


def mark_of(carried: Mapping[str, Any]) -> str:
    """The fingerprint of what a body carries, but for the next watermark."""
    return fingerprint({name: value for name, value in carried.items() if name != "next_watermark"})


async def _write_pipeline(session: AsyncSession, body: PipelinePost, mark: str) -> tuple[Pipeline, bool]:
    # The row of the type is not locked: a PATCH locks the pipeline first, and the two could deadlock.
    type_key = {"name": body.pipeline_type_name}
    pipeline_type, is_new_type = await get_or_create(session, PipelineType, type_key, {}, lock=False)
    if is_new_type:
        await record_in(session, _change_of("create", pipeline_type, after={}))
    values = {name: value for name, value in body.carried().items() if name not in {"name", "pipeline_type_name"}}
    values |= {"pipeline_type_id": pipeline_type.id, "fingerprint": mark}
    await _check_zone(session, values.get("freshness_calendar"), values.get("schedule_timezone", "UTC"))
    new = values | plan_new(values) | {"display_name": display_of(body.name)}
    pipeline, created = await get_or_create(session, Pipeline, {"name": body.name}, new)
    if created:
        await record_in(session, _change_of("create", pipeline, after=values))
    elif pipeline.fingerprint != mark:
        await _change(session, pipeline, values | plan_change(pipeline, values))
    if pipeline.archived_at is not None:
        await revive_pipeline(session, pipeline.id)
    return pipeline, created


async def revive_pipeline(session: AsyncSession, pipeline_id: int) -> None:
    """Take it out of the archive, because it reports again."""
    await session.execute(update(Pipeline).where(Pipeline.id == pipeline_id).values(archived_at=None))
    await enqueue_async(session, REVIVE_TASK, SCHEDULED_QUEUE, pipeline_ids=[pipeline_id], address_ids=[])


async def patch_pipeline(session: AsyncSession, body: PipelinePatch) -> Row[Any]:
    """Change what the body carries. A pipeline that is paused has its incidents resolved at once.

    Raises:
        NotFoundError: no such pipeline, or no such pipeline type.
        NameTakenError: the new name belongs to another pipeline.
        InvalidFieldError: the change would leave half a threshold pair.
        ConflictError: it comes from a file.
    """
    pipeline = await find_for_update(session, Pipeline, body.id, body.name)
    changes = body.changes()
    if "pipeline_type_id" in changes:
        await find(session, PipelineType, changes["pipeline_type_id"])
    await check_pipelines_declared(session, {pipeline.name: _different(pipeline, changes)})
    if "name" in changes:
        changes["display_name"] = display_of(changes["name"])
    await change_pipeline(session, pipeline, changes)
    return await find_pipeline(session, pipeline.id)


def _different(pipeline: Pipeline, changes: dict[str, Any]) -> list[str]:
    return [field for field, value in changes.items() if getattr(pipeline, field) != value]


async def change_pipeline(session: AsyncSession, pipeline: Pipeline, changes: dict[str, Any]) -> None:
    """Write these columns, and what follows from them.

    Raises:
        NameTakenError: the new name belongs to another pipeline.
        InvalidFieldError: the change would leave half a threshold pair.
    """
    pauses = pipeline.active and changes.get("active") is False
    await _change(session, pipeline, changes | _following(pipeline, changes))
    if pauses:
        await enqueue_async(session, "sweep_incidents_task", SCHEDULED_QUEUE)


def _following(pipeline: Pipeline, changes: dict[str, Any]) -> dict[str, Any]:
    """The further columns that change with these."""
    by_hand = {"watermark_start_date": None} if "watermark" in changes else {}
    # In the archive nothing is expected; a schedule counts from when the pipeline comes back.
    return by_hand | (plan_change(pipeline, changes) if pipeline.archived_at is None else {})


async def change_pipelines(session: AsyncSession, pipelines: Sequence[Pipeline], changes: dict[str, Any]) -> None:
    """Write the same columns of several pipelines, which are locked, with a fixed number of statements.

    Raises:
        InvalidFieldError: a schedule that counts again is in a time zone that this server does not know.
        ConflictError: one of them comes from a file.
    """
    await check_pipelines_declared(session, {each.name: _different(each, changes) for each in pipelines})
    pauses = changes.get("active") is False and any(pipeline.active for pipeline in pipelines)
    told = []
    for pipeline in pipelines:
        before, written = _assign(pipeline, changes | _following(pipeline, changes))
        pipeline.updated_at = datetime.now(UTC)
        told.append(_change_of("change", pipeline, before=before, after=written))
    await session.flush()
    await record_in(session, *told)
    if pauses:
        await enqueue_async(session, "sweep_incidents_task", SCHEDULED_QUEUE)


async def patch_pipeline_type(session: AsyncSession, body: PipelineTypePatch) -> PipelineType:
    """Change what the body carries; raises as :func:`patch_pipeline` does."""
    pipeline_type = await find_for_update(session, PipelineType, body.id, body.name)
    await _change(session, pipeline_type, body.changes())
    return pipeline_type


async def _change(session: AsyncSession, row: Pipeline | PipelineType, changes: dict[str, Any]) -> None:
    before, written = _assign(row, changes)
    if isinstance(row, Pipeline) and written.keys() & {"freshness_calendar", "schedule_timezone"}:
        await _check_zone(session, row.freshness_calendar, row.schedule_timezone)
    await apply_changes(session, row, written)
    after = {field: getattr(row, field) for field in written}
    await record_in(session, _change_of("change", row, before=before, after=after))


def _assign(row: Pipeline | PipelineType, changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Set the columns, and end a mute's end with the mute; what was there before, and what is there now."""
    before = {field: getattr(row, field) for field in changes}
    for field, value in changes.items():
        setattr(row, field, value)
    # The table refuses half a pair too, but its error does not say which half is missing.
    check_pairs_stored(row)
    if row.mute_until is None or row.mute_freshness_check or row.mute_timeliness_check:
        return before, changes
    if changes.get("mute_until") is not None:
        raise InvalidFieldError("mute_until", "goes with mute_freshness_check or mute_timeliness_check")
    before.setdefault("mute_until", row.mute_until)
    row.mute_until = None
    return before, changes | {"mute_until": None}


def _change_of(
    action: str, row: Pipeline | PipelineType, *, after: dict[str, Any], before: dict[str, Any] | None = None
) -> Change:
    told = [
        None if fields is None else {name: value for name, value in fields.items() if name not in _DERIVED}
        for fields in (before, after)
    ]
    name = (row.display_name if isinstance(row, Pipeline) else None) or row.name
    return Change(action, row.__tablename__, row.id, name, *told)


async def _check_zone(session: AsyncSession, calendar: str | None, zone: str) -> None:
    """A calendar's days are found by the database: one zone that it lacks would break the check of all pipelines."""
    if calendar is None or zone == "UTC":
        return
    known = text("SELECT EXISTS (SELECT FROM pg_timezone_names WHERE lower(name) = lower(:zone))")
    with session.no_autoflush:
        if not await session.scalar(known, {"zone": zone}):
            raise InvalidFieldError(
                "schedule_timezone",
                f"{zone} is no time zone that the database knows, so freshness_calendar cannot use it",
            )


async def sync_pipeline_type(session: AsyncSession, body: PipelineTypePost) -> tuple[PipelineType, bool]:
    """Get or create the type, writing what differs; whether it was created.

    Raises:
        InvalidFieldError: the change would leave half a threshold pair.
    """
    values = {name: value for name, value in body.carried().items() if name != "name"}
    row, created = await get_or_create(session, PipelineType, {"name": body.name}, values)
    changes = {name: value for name, value in values.items() if getattr(row, name) != value}
    if created:
        await record_in(session, _change_of("create", row, after=values))
    elif changes:
        await _change(session, row, changes)
    return row, created


async def find_pipeline(session: AsyncSession, pipeline_id: int) -> Row[Any]:
    """The columns of that pipeline, and how it does. Raises NotFoundError: there is none."""
    statement = await select_with_status(
        session,
        select(Pipeline).where(Pipeline.id == pipeline_id, Pipeline.forgotten_at.is_(None)),
        pipeline_id=pipeline_id,
    )
    row: Row[Any] | None = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFoundError(f"No pipeline has the id {pipeline_id}.")
    return row


def list_pipelines(
    engine: AsyncEngine,
    page: Page,
    *,
    name: str | None,
    pipeline_type_id: int | None,
    active: bool | None,
    state: PipelineState | Word | None,
    status: Word | None,
    archived: bool = False,
) -> AsyncIterator[Sequence[Row[Any]]]:
    """The columns of each pipeline and how it does, by id, in parts; ``name`` matches any part of a name.

    Those that are not in the archive, or with ``archived`` those in it.
    """
    wanted = list_statement(Pipeline, name=name, pipeline_type_id=pipeline_type_id, active=active)
    in_archive = Pipeline.archived_at.is_not(None) & Pipeline.forgotten_at.is_(None)
    wanted = wanted.where(in_archive if archived else Pipeline.archived_at.is_(None))

    async def find(session: AsyncSession, part: Page, last_id: int) -> Select[Any]:
        later = wanted.where(Pipeline.id > last_id)
        if state or status:
            return part.of(await select_with_status(session, later, state=state, status=status))
        # How those do that the page leaves out is not asked.
        ids = part.of(later.with_only_columns(Pipeline.id)).scalar_subquery()
        return await select_with_status(session, wanted.where(Pipeline.id == any_(func.array(ids))))

    return read_parts(engine, page, find, "pipeline_metadata", "openlineage")


async def find_names(session: AsyncSession, pipeline_ids: Collection[int]) -> dict[int, str]:
    """The names of these pipelines, as they are shown, by their ids; one that is gone is left out."""
    if not pipeline_ids:
        return {}
    found = await session.execute(select(Pipeline.id, Pipeline.shown_name).where(Pipeline.id.in_(pipeline_ids)))
    return {row.id: row.shown_name for row in found}


async def search_names(session: AsyncSession, words: Collection[str], most: int) -> dict[int, str]:
    """The names that contain all the words, by their ids, short names first.

    LIKE within a name cannot use an index, so this reads all names once.
    """
    statement = (
        select(Pipeline.id, Pipeline.name)
        .where(Pipeline.archived_at.is_(None), *(Pipeline.name.like(contains(word)) for word in words))
        .order_by(func.length(Pipeline.name), Pipeline.name)
        .limit(most)
    )
    return {row.id: row.name for row in await session.execute(statement)}
