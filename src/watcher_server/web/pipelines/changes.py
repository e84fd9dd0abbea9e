"""Changing pipelines as the API does, once what changes has been confirmed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.database.rows import find, find_for_update
from watcher_server.kit.errors import ConflictError, InvalidFieldError
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.pipelines.service import patch_pipeline
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
    def plans(self) -> bool:
        """Whether the schedule, its time zone or its grace changes."""
        planned = ("schedule", "schedule_timezone", "schedule_grace_minutes")
        return any(getattr(self.values, name) != getattr(self.original, name) for name in planned)

    @property
    def other_errors(self) -> Sequence[str]:
        """The errors of fields that the form does not show."""
        return [message for name, message in self.errors.items() if name not in Values.model_fields]


async def begin_editing(session: AsyncSession, pipeline_id: int) -> Editing:
    """The form as it begins. Raises NotFoundError: there is no such pipeline."""
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
            # A savepoint: when the change is refused, nothing of it is written.
            async with session.begin_nested():
                await patch_pipeline(session, body)
    except (ValidationError, InvalidFieldError, ConflictError) as error:
        await session.refresh(pipeline)
        return Editing(**about, errors=explain(error))
    if form.confirmed and (form.seen == seen or not changes):
        return Editing(**about, is_done=True)
    return Editing(**about, changes=changes, seen=seen, is_unchanged=not changes, is_outdated=form.confirmed)


async def _type_of(session: AsyncSession, pipeline: Pipeline) -> PipelineType:
    return await find(session, PipelineType, pipeline.pipeline_type_id)
