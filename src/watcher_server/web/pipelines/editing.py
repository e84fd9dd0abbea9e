"""The form that changes one pipeline: its fields, and what they change, in words."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, Json, ValidationError

from watcher_server.kit.errors import InvalidFieldError
from watcher_server.kit.thresholds import check_pairs_stored
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.pipelines.schemas import PipelinePatch, Thresholds
from watcher_server.pipelines.summaries import Interval

SWITCHES = {
    "active": ("Pipeline", "active", "paused"),
    "mute_freshness_check": ("Freshness check", "muted", "on"),
    "mute_timeliness_check": ("Timeliness check", "muted", "on"),
}
PAIRS = {
    "freshness": "Stale after",
    "freshness_warning": "Warn of stale data after",
    "timeliness": "Late after",
    "timeliness_warning": "Warn of a long run after",
}
_HALF_A_PAIR = "A number needs its unit and a unit its number: give both, or leave both blank for what the type says."

Errors = Mapping[str, str]


class Values(BaseModel):
    """The fields of the form as they are typed. A blank threshold leaves it to the type."""

    active: bool = False
    mute_freshness_check: bool = False
    mute_timeliness_check: bool = False
    freshness_number: str = ""
    freshness_datepart: str = ""
    freshness_warning_number: str = ""
    freshness_warning_datepart: str = ""
    timeliness_number: str = ""
    timeliness_datepart: str = ""
    timeliness_warning_number: str = ""
    timeliness_warning_datepart: str = ""

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """What the form begins with."""
        stored = {name: getattr(pipeline, name) for name in cls.model_fields}
        blanked = {name: "" if value is None else value for name, value in stored.items()}
        return cls.model_validate(
            {name: value if isinstance(value, bool) else str(value) for name, value in blanked.items()}
        )

    def pair(self, name: str) -> tuple[str, str]:
        """The number and the unit of a threshold."""
        return getattr(self, f"{name}_number").strip(), getattr(self, f"{name}_datepart").strip()


class EditForm(Values):
    """The form as it is posted.

    ``original`` is what the form began with: only what differs from it is a change, so that a form that was opened
    earlier does not undo a change that was made meanwhile. ``seen`` names the list of changes that was ``confirmed``;
    ``editing`` goes back from the list to the form. ``back`` is where to go afterwards.
    """

    original: Json[Values]
    confirmed: bool = False
    editing: bool = False
    seen: str = ""
    back: str = ""

    def typed(self) -> dict[str, Any]:
        """What was typed differently, by the names of the columns; a pair is one thing."""
        switches = {name: getattr(self, name) for name in SWITCHES}
        changed = {name: on for name, on in switches.items() if on != getattr(self.original, name)}
        for name in PAIRS:
            if self.pair(name) != self.original.pair(name):
                number, datepart = self.pair(name)
                changed |= {f"{name}_number": number or None, f"{name}_datepart": datepart or None}
        return changed


@dataclass(frozen=True, slots=True)
class Change:
    """One line of what changes, in words."""

    label: str
    before: str
    after: str


def seal(changes: Iterable[object]) -> str:
    """A short name of a list of changes: another list, or another state before it, has another name."""
    return hashlib.sha256(json.dumps([str(change) for change in changes]).encode()).hexdigest()[:16]


def read_patch(form: EditForm, pipeline: Pipeline) -> PipelinePatch:
    """The change as the API takes it.

    Raises:
        ValidationError: a field is not what the API takes.
        InvalidFieldError: half a threshold pair would be left.
    """
    body = PipelinePatch.model_validate({"id": pipeline.id, **form.typed()})
    merged = {name: getattr(pipeline, name) for name in Thresholds.model_fields} | body.changes()
    check_pairs_stored(Thresholds.model_construct(**{name: merged[name] for name in Thresholds.model_fields}))
    return body


def explain(error: ValidationError | InvalidFieldError) -> Errors:
    """The errors by field."""
    if isinstance(error, InvalidFieldError):
        is_pair = error.field in Thresholds.model_fields
        return {error.field: _HALF_A_PAIR if is_pair else f"{error}."}
    return {str(found["loc"][0]) if found["loc"] else "": f"{found['msg']}." for found in error.errors()}


def describe_changes(pipeline: Pipeline, pipeline_type: PipelineType, body: PipelinePatch) -> Sequence[Change]:
    """Each thing that will be other than it is now."""
    changes = body.changes()
    lines = [_switch(name, getattr(pipeline, name), changes[name]) for name in SWITCHES if name in changes]
    lines += [_threshold(name, pipeline, pipeline_type, changes) for name in PAIRS if f"{name}_number" in changes]
    return [line for line in lines if line.before != line.after]


def _switch(name: str, before: bool, after: bool) -> Change:
    label, on, off = SWITCHES[name]
    return Change(label, on if before else off, on if after else off)


def _threshold(name: str, pipeline: Pipeline, pipeline_type: PipelineType, changes: Mapping[str, Any]) -> Change:
    fields = (f"{name}_number", f"{name}_datepart")
    of_type = [getattr(pipeline_type, field) for field in fields]
    before = [getattr(pipeline, field) for field in fields]
    after = [changes[field] for field in fields]
    return Change(PAIRS[name], pair_or_type(*before, *of_type), pair_or_type(*after, *of_type))


def pair_or_type(number: int | None, datepart: str | None, type_number: int | None, type_datepart: str | None) -> str:
    """A threshold in words: the pipeline's own, or what holds in its place."""
    if number is not None and datepart is not None:
        return str(Interval(number, datepart, own=True))
    if type_number is not None and type_datepart is not None:
        return f"its type’s: {Interval(type_number, type_datepart, own=False)}"  # noqa: RUF001 - an apostrophe is meant
    return "none, nor has its type one"
