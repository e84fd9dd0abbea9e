"""Changing pipelines as the API does, once what changes has been confirmed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import ARRAY, BigInteger, any_, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.database.rows import find, find_for_update
from watcher_server.kit.errors import InvalidFieldError
from watcher_server.kit.fields import Id
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.pipelines.schemas import PipelinePatch
from watcher_server.pipelines.service import patch_pipeline
from watcher_server.web.paging import PAGE_SIZE
from watcher_server.web.pipelines.editing import (
    Change,
    EditForm,
    Errors,
    Values,
    describe_changes,
    explain,
    read_patch,
    seal,
)


@dataclass(frozen=True)
class Editing:
    """Where the change of one pipeline stands.

    ``changes`` is empty while there is nothing to confirm; ``is_unchanged`` says that nothing was typed that is
    different, ``is_outdated`` that what was confirmed is no longer what would change.
    """

    pipeline: Pipeline
    pipeline_type: PipelineType
    values: Values
    original: Values
    errors: Errors = field(default_factory=dict)
    changes: Sequence[Change] = ()
    seen: str = ""
    is_unchanged: bool = False
    is_outdated: bool = False
    is_done: bool = False

    @property
    def other_errors(self) -> Sequence[str]:
        """The errors of fields that the form does not show."""
        return [message for name, message in self.errors.items() if name not in Values.model_fields]


async def begin_editing(session: AsyncSession, pipeline_id: int) -> Editing:
    """The form as it begins.

    Raises:
        NotFoundError: there is no such pipeline.
    """
    pipeline = await find(session, Pipeline, pipeline_id)
    values = Values.of(pipeline)
    return Editing(pipeline, await _type_of(session, pipeline), values, values)


async def go_on_editing(session: AsyncSession, pipeline_id: int, form: EditForm) -> Editing:
    """The form again, the list of changes to confirm, or, once they were confirmed, that they are done.

    Raises:
        NotFoundError: there is no such pipeline.
    """
    # Locked, so that the changes cannot differ from those that were confirmed.
    pipeline = await find_for_update(session, Pipeline, pipeline_id, None)
    about: dict[str, Any] = {
        "pipeline": pipeline,
        "pipeline_type": await _type_of(session, pipeline),
        "values": form,
        "original": form.original,
    }
    if form.editing:
        return Editing(**about)
    try:
        body = read_patch(form, pipeline)
        changes = describe_changes(pipeline, about["pipeline_type"], body)
        seen = seal(changes)
        if form.confirmed and form.seen == seen:
            await _apply(session, [body])
    except (ValidationError, InvalidFieldError) as error:
        await session.refresh(pipeline)
        return Editing(**about, errors=explain(error))
    if form.confirmed and (form.seen == seen or not changes):
        return Editing(**about, is_done=True)
    return Editing(**about, changes=changes, seen=seen, is_unchanged=not changes, is_outdated=form.confirmed)


async def _type_of(session: AsyncSession, pipeline: Pipeline) -> PipelineType:
    return await find(session, PipelineType, pipeline.pipeline_type_id)


async def _apply(session: AsyncSession, bodies: Iterable[PipelinePatch]) -> None:
    # A savepoint: when one change is refused, none of them is written.
    async with session.begin_nested():
        for body in bodies:
            await patch_pipeline(session, body)


class BulkAction(StrEnum):
    """What can be done to many pipelines at once; muting is of both checks."""

    MUTE = "mute"
    UNMUTE = "unmute"
    PAUSE = "pause"
    ACTIVATE = "activate"


_FIELDS: dict[BulkAction, dict[str, bool]] = {
    BulkAction.MUTE: {"mute_freshness_check": True, "mute_timeliness_check": True},
    BulkAction.UNMUTE: {"mute_freshness_check": False, "mute_timeliness_check": False},
    BulkAction.PAUSE: {"active": False},
    BulkAction.ACTIVATE: {"active": True},
}


class BulkForm(BaseModel):
    """The form as it is posted; it holds one page of the list at most."""

    action: BulkAction
    selected: Annotated[list[Id], Field(max_length=PAGE_SIZE)] = []
    confirmed: bool = False
    seen: str = ""
    back: str = ""


@dataclass(frozen=True)
class Bulk:
    """What an action does to the pipelines that were selected.

    ``affected`` are the ids and names of those that it changes; of the others, ``unaffected``, it is true already.
    """

    action: BulkAction
    affected: Sequence[tuple[int, str]]
    unaffected: int
    seen: str
    error: str = ""
    is_outdated: bool = False
    is_done: bool = False


async def change_many(session: AsyncSession, form: BulkForm) -> Bulk:
    """What would change, or, when that was confirmed, that it is done; pipelines that are gone are left out."""
    fields = _FIELDS[form.action]
    pipelines = await _lock_pipelines(session, form.selected)
    affected = [
        (row.id, row.shown_name) for row in pipelines if any(getattr(row, name) != fields[name] for name in fields)
    ]
    seen = seal(affected)
    bulk = Bulk(form.action, affected, len(pipelines) - len(affected), seen)
    if not form.confirmed:
        return bulk
    if form.seen != seen:
        return replace(bulk, is_outdated=True, is_done=not affected)
    try:
        await _apply(session, [PipelinePatch(id=pipeline_id, **fields) for pipeline_id, _ in affected])
    except InvalidFieldError as error:
        return replace(bulk, error=f"{error}.")
    return replace(bulk, is_done=True)


async def _lock_pipelines(session: AsyncSession, pipeline_ids: Iterable[int]) -> Sequence[Pipeline]:
    """Locked by id, so that two changes of many at once wait for each other and do not deadlock."""
    wanted = any_(literal(list(pipeline_ids), ARRAY(BigInteger)))
    statement = select(Pipeline).where(Pipeline.id == wanted).order_by(Pipeline.id)
    return (await session.scalars(statement.with_for_update(key_share=True))).all()
