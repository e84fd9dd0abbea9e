"""Whether something that may be told about is what a route or a window is for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from watcher_server.alerts.config.fields import level_matches
from watcher_server.alerts.config.schemas import Match
from watcher_server.kit.globs import glob_matches


@dataclass(frozen=True)
class Facts:
    """What is known of one subject of an alert: of its incident, and of the pipeline that it is about, if any.

    ``level`` is that of the incident, also when it is over. ``root`` is the incident that explains it, or itself.
    """

    level: str
    kind: str | None = None
    pipeline: str | None = None
    type: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    incident_id: int | None = None
    root: int | None = None


def matches(match: Match, facts: Facts) -> bool:
    """Whether every field of the match fits."""
    return next(misfits(match, facts), None) is None


def misfits(match: Match, facts: Facts) -> Iterator[str]:
    """Why it does not match, in words: one sentence for each field that does not fit."""
    if match.owner is not None and not _is_among(facts.owner, match.owner):
        yield f"the owner is {facts.owner or 'nobody'}, not {_any(match.owner)}"
    if match.tag is not None and not any(_is_among(tag, match.tag) for tag in facts.tags):
        has = f"the tags are {', '.join(facts.tags)}" if facts.tags else "it has no tags"
        yield f"{has}, not {_any(match.tag)}"
    if match.type is not None and not _fits(facts.type, match.type):
        yield f"the type is {facts.type or 'none'}, not {_any(match.type)}"
    if match.pipeline is not None and not _fits(facts.pipeline, match.pipeline):
        yield f"the pipeline is {facts.pipeline or 'none'}, not {_any(match.pipeline)}"
    if match.kind is not None and facts.kind not in match.kind:
        yield f"the kind is {facts.kind or 'none'}, not {_any(match.kind)}"
    if match.level is not None and not level_matches(match.level, facts.level):
        yield f"the level is {facts.level}, not {match.level}"


def _is_among(value: str | None, wanted: Iterable[str]) -> bool:
    return value is not None and value.casefold() in {each.casefold() for each in wanted}


def _fits(value: str | None, globs: Iterable[str]) -> bool:
    return value is not None and any(glob_matches(glob, value) for glob in globs)


def _any(wanted: Iterable[Any]) -> str:
    return " or ".join(str(each) for each in wanted)
