"""Changing many pipelines at once: those that are ticked in the list, or all that fit its filters."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from sqlalchemy import ARRAY, BigInteger, any_, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.archive.service import Kind, archive_all
from watcher_server.database.asking import ask
from watcher_server.kit.errors import ConflictError, InvalidFieldError
from watcher_server.kit.fields import Id
from watcher_server.kit.thresholds import check_pairs_stored
from watcher_server.pipelines.models import Pipeline
from watcher_server.pipelines.schemas import PipelinePatch
from watcher_server.pipelines.service import change_pipelines
from watcher_server.pipelines.summaries import Interval
from watcher_server.web.paging import PAGE_SIZE
from watcher_server.web.pipelines.editing import PAIRS, Change, Errors, ThresholdValues, explain, seal
from watcher_server.web.pipelines.listing import find_all

# More are locked for too long: the ends of their runs wait meanwhile.
MOST_AT_ONCE = 2_000


class BulkAction(StrEnum):
    """What can be done to many pipelines at once; muting is of both checks."""

    MUTE = "mute"
    UNMUTE = "unmute"
    PAUSE = "pause"
    ACTIVATE = "activate"
    THRESHOLDS = "thresholds"
    ARCHIVE = "archive"


_FIELDS: dict[BulkAction, dict[str, bool]] = {
    BulkAction.MUTE: {"mute_freshness_check": True, "mute_timeliness_check": True},
    BulkAction.UNMUTE: {"mute_freshness_check": False, "mute_timeliness_check": False},
    BulkAction.PAUSE: {"active": False},
    BulkAction.ACTIVATE: {"active": True},
}

PairName = Literal["freshness", "freshness_warning", "timeliness", "timeliness_warning"]


class BulkForm(ThresholdValues):
    """The form as it is posted: what is ticked on one page of the list, or everything that fits its filters.

    ``everything`` is "?" and the filters as :attr:`watcher_server.web.pipelines.listing.Filters.query` has them. A
    threshold that is blank stays as it is; those in ``unset`` are left to the type.
    """

    action: BulkAction
    selected: Annotated[list[Id], Field(max_length=PAGE_SIZE, default_factory=list)]
    everything: Annotated[str, Field(max_length=4_000)] = ""
    unset: Annotated[list[PairName], Field(default_factory=list)]
    editing: bool = False
    confirmed: bool = False
    seen: str = ""
    back: str = ""

    def fields(self) -> dict[str, Any]:
        """The columns that are written, but for the archive.

        Raises:
            ValidationError: a threshold is not what the API takes.
            InvalidFieldError: a threshold is half a pair.
        """
        if self.action is not BulkAction.THRESHOLDS:
            return dict(_FIELDS.get(self.action, {}))
        typed: dict[str, Any] = {}
        for name in PAIRS:
            number, datepart = (None, None) if name in self.unset else self.pair(name)
            if name in self.unset or number or datepart:
                typed |= {f"{name}_number": number or None, f"{name}_datepart": datepart or None}
        body = PipelinePatch.model_validate({"id": 1, **typed})
        check_pairs_stored(body)
        return body.changes()


@dataclass(frozen=True)
class Bulk:
    """What an action does to the pipelines that were selected.

    ``affected`` are the ids and names of those that it changes; of the others, ``unaffected``, it is true already.
    ``thresholds`` are what they will be, in words; ``asks`` says that they are to be typed first. ``errors`` are those
    of what was typed, ``error`` is what else was wrong.
    """

    form: BulkForm
    affected: Sequence[tuple[int, str]] = ()
    unaffected: int = 0
    thresholds: Sequence[Change] = ()
    seen: str = ""
    error: str = ""
    errors: Errors = field(default_factory=dict)
    asks: bool = False
    is_outdated: bool = False
    is_done: bool = False

    @property
    def action(self) -> BulkAction:
        """What is to be done."""
        return self.form.action


async def change_many(session: AsyncSession, form: BulkForm) -> Bulk:
    """What would change, or, when that was confirmed, that it is done; pipelines that are gone are left out.

    Raises:
        ConflictError: ``everything`` holds no filters of the list.
    """
    try:
        fields = form.fields()
    except (ValidationError, InvalidFieldError) as error:
        return Bulk(form, errors=explain(error), asks=True)
    ids = await find_all(session, form.everything[1:], MOST_AT_ONCE + 1) if form.everything else form.selected
    if len(ids) > MOST_AT_ONCE:
        return Bulk(form, error=f"These are more than {MOST_AT_ONCE:,}: choose fewer by the filters of the list.")
    if form.action is BulkAction.THRESHOLDS and ids and (form.editing or not fields):
        return Bulk(form, asks=True)
    return await _change_these(session, form, ids, fields)


async def _change_these(session: AsyncSession, form: BulkForm, ids: Sequence[int], fields: dict[str, Any]) -> Bulk:
    # Locked by id, so that two changes of many at once wait for each other and do not deadlock.
    wanted = any_(literal(list(ids), ARRAY(BigInteger)))
    statement = select(Pipeline).where(Pipeline.id == wanted, Pipeline.archived_at.is_(None)).order_by(Pipeline.id)
    pipelines = (await session.scalars(statement.with_for_update(key_share=True))).all()
    archives = form.action is BulkAction.ARCHIVE
    affected = [row for row in pipelines if archives or any(getattr(row, name) != fields[name] for name in fields)]
    named = [(row.id, row.shown_name) for row in affected]
    seen = seal([*named, fields])
    # What the thresholds will be, in words; what they were differs from one pipeline to the next.
    thresholds = [
        Change(label, "", str(Interval(number, fields[f"{name}_datepart"], own=True)) if number else "as its type says")
        for name, label in PAIRS.items()
        if f"{name}_number" in fields
        for number in [fields[f"{name}_number"]]
    ]
    bulk = Bulk(form, named, len(pipelines) - len(affected), thresholds, seen)
    if not form.confirmed:
        return bulk
    if form.seen != seen:
        return replace(bulk, is_outdated=True, is_done=not affected)
    try:
        # A savepoint: when the change of one is refused, none is written.
        async with session.begin_nested():
            if archives:
                await ask(session, archive_all, Kind.PIPELINE, [row.id for row in affected])
            else:
                await change_pipelines(session, affected, fields)
    except (InvalidFieldError, ConflictError) as error:
        return replace(bulk, error=f"{str(error).removesuffix('.')}.")
    return replace(bulk, is_done=True)
