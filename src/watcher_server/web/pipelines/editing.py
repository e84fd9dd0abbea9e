"""The form that changes one pipeline: its fields, and what they change, in words."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, Json, ValidationError

from watcher_server.kit.errors import DomainError, InvalidFieldError
from watcher_server.kit.thresholds import check_pairs_stored
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.pipelines.schemas import PipelinePatch, Thresholds
from watcher_server.pipelines.summaries import Interval
from watcher_server.web.pipelines.next_runs import NextRuns, read_next_runs

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
# What is typed as a text, with what holds where it is left blank.
TEXTS = {
    "schedule": ("Schedule", None),
    "schedule_timezone": ("Time zone", "UTC"),
    "schedule_grace_minutes": ("Grace", "10"),
    "owner": ("Owner", None),
    "runbook_url": ("Runbook", None),
}
_MOST_TAGS = 20
_LONGEST_TAG = 50

Errors = Mapping[str, str]


class ThresholdValues(BaseModel):
    """Thresholds as they are typed."""

    freshness_number: str = ""
    freshness_datepart: str = ""
    freshness_warning_number: str = ""
    freshness_warning_datepart: str = ""
    timeliness_number: str = ""
    timeliness_datepart: str = ""
    timeliness_warning_number: str = ""
    timeliness_warning_datepart: str = ""

    def pair(self, name: str) -> tuple[str, str]:
        """The number and the unit of a threshold."""
        return getattr(self, f"{name}_number").strip(), getattr(self, f"{name}_datepart").strip()


class Values(ThresholdValues):
    """The fields of the form as they are typed. A blank threshold leaves it to the type; tags have commas between."""

    active: bool = False
    mute_freshness_check: bool = False
    mute_timeliness_check: bool = False
    schedule: str = ""
    schedule_timezone: str = ""
    schedule_grace_minutes: str = ""
    owner: str = ""
    runbook_url: str = ""
    tags: str = ""

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """What the form begins with."""
        stored = {name: getattr(pipeline, name) for name in cls.model_fields if name != "tags"}
        stored["tags"] = ", ".join(tags_of(pipeline))
        blanked = {name: "" if value is None else value for name, value in stored.items()}
        return cls.model_validate(
            {name: value if isinstance(value, bool) else str(value) for name, value in blanked.items()}
        )

    @property
    def tag_list(self) -> list[str]:
        """The tags, each once."""
        return list(dict.fromkeys(filter(None, (tag.strip() for tag in self.tags.split(",")))))

    @property
    def next_runs(self) -> NextRuns:
        """When it would run next."""
        return read_next_runs(self.schedule, self.schedule_timezone.strip(), self.schedule_grace_minutes.strip())


def tags_of(pipeline: Pipeline) -> list[str]:
    """The texts in the pipeline's metadata under ``tags``."""
    stored = (pipeline.pipeline_metadata or {}).get("tags")
    return [tag for tag in stored if isinstance(tag, str)] if isinstance(stored, list) else []


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
        """What was typed differently, by the names of the columns but that of the tags; a pair is one thing."""
        switches = {name: getattr(self, name) for name in SWITCHES}
        changed = {name: on for name, on in switches.items() if on != getattr(self.original, name)}
        for name in PAIRS:
            if self.pair(name) != self.original.pair(name):
                number, datepart = self.pair(name)
                changed |= {f"{name}_number": number or None, f"{name}_datepart": datepart or None}
        for name, (_, blank) in TEXTS.items():
            typed = getattr(self, name).strip()
            if typed != getattr(self.original, name).strip():
                changed[name] = typed or blank
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
        InvalidFieldError: half a threshold pair would be left, or the tags are too many or too long.
    """
    typed = form.typed()
    tags = form.tag_list
    if tags != form.original.tag_list:
        if len(tags) > _MOST_TAGS or any(len(tag) > _LONGEST_TAG for tag in tags):
            raise InvalidFieldError("tags", f"At most {_MOST_TAGS} tags of {_LONGEST_TAG} characters each")
        others = {name: value for name, value in (pipeline.pipeline_metadata or {}).items() if name != "tags"}
        typed["pipeline_metadata"] = others | ({"tags": tags} if tags else {})
    body = PipelinePatch.model_validate({"id": pipeline.id, **typed})
    merged = {name: getattr(pipeline, name) for name in Thresholds.model_fields} | body.changes()
    check_pairs_stored(Thresholds.model_construct(**{name: merged[name] for name in Thresholds.model_fields}))
    return body


def explain(error: ValidationError | DomainError) -> Errors:
    """The errors by field; under no name what is no field's fault."""
    if isinstance(error, InvalidFieldError):
        half = "A number needs its unit and a unit its number: give both, or leave both blank for what the type says."
        return {error.field: half if error.field in Thresholds.model_fields else f"{error}."}
    if isinstance(error, DomainError):
        return {"": str(error)}
    return {
        str(found["loc"][0]) if found["loc"] else "": f"{found['msg'].removeprefix('Value error, ')}."
        for found in error.errors()
    }


def describe_changes(pipeline: Pipeline, pipeline_type: PipelineType, body: PipelinePatch) -> Sequence[Change]:
    """Each thing that will be other than it is now."""
    changes = body.changes()
    lines = [_switch(name, getattr(pipeline, name), changes[name]) for name in SWITCHES if name in changes]
    lines += [_threshold(name, pipeline, pipeline_type, changes) for name in PAIRS if f"{name}_number" in changes]
    lines += [_text(name, getattr(pipeline, name), changes[name]) for name in TEXTS if name in changes]
    if "pipeline_metadata" in changes:
        after = (changes["pipeline_metadata"] or {}).get("tags", ())
        lines.append(_text("tags", ", ".join(tags_of(pipeline)), ", ".join(after)))
    return [line for line in lines if line.before != line.after]


def _text(name: str, before: Any, after: Any) -> Change:
    label = "Tags" if name == "tags" else TEXTS[name][0]
    unit = " minutes" if name == "schedule_grace_minutes" else ""
    return Change(label, *(f"{value}{unit}" if value not in {None, ""} else "none" for value in (before, after)))


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
