"""Which pipelines the list shows, and in which order: chosen from the board, which has them all in memory."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BeforeValidator

from watcher_server.kit.fields import INT_MAX, SearchText
from watcher_server.pipelines.board import BoardRow, BoardView
from watcher_server.web.paging import PAGE_SIZE, url_builder

PATH = "/ui/pipelines"
_LONGEST_TAG = 1_000


class State(StrEnum):
    """What the list can be narrowed to, worst first. Of a paused pipeline nothing else counts, but that it is muted."""

    FAILED = "failed"
    MISSED = "missed"
    OVERDUE = "overdue"
    LATE = "late"
    STALE = "stale"
    ANOMALOUS = "anomalous"
    RUNNING = "running"
    OK = "ok"
    UNKNOWN = "unknown"
    PAUSED = "paused"
    MUTED = "muted"


Order = Literal[
    "status", "-status", "name", "-name", "type", "-type", "last_run", "-last_run", "duration", "-duration",
    "last_write", "-last_write", "next_due", "-next_due",
]  # fmt: skip
DEFAULT_ORDER: Order = "status"


def _none_if_blank(value: Any) -> Any:
    return None if value == "" else value


_blank_is_none = BeforeValidator(_none_if_blank)
_blank_is_default = BeforeValidator(lambda value: value or DEFAULT_ORDER)


@dataclass(frozen=True)
class Filters:
    """What is asked for. Every word of ``q`` is part of the name; a type and a tag are matched whole."""

    q: Annotated[SearchText, Query()] = ""
    type: Annotated[SearchText, Query()] = ""
    tag: Annotated[str, Query(max_length=_LONGEST_TAG)] = ""
    state: Annotated[State | None, _blank_is_none, Query()] = None
    order: Annotated[Order, _blank_is_default, Query()] = DEFAULT_ORDER
    page: Annotated[int, Query(ge=1, le=INT_MAX)] = 1

    @property
    def are_set(self) -> bool:
        """Whether anything is left out of the list."""
        return bool(self.q or self.type or self.tag or self.state)

    def url(self) -> Callable[..., str]:
        """The addresses of this list, and of what is one change away from it."""
        order = None if self.order == DEFAULT_ORDER else self.order
        page = None if self.page == 1 else self.page
        return url_builder(PATH, q=self.q, type=self.type, tag=self.tag, state=self.state, order=order, page=page)


@dataclass(frozen=True)
class Listing:
    """One page of the list.

    ``total`` is how many fit the filters, ``known`` how many there are. ``counts`` has for each state how many of
    those have it that fit the other filters; ``in_any_state`` is how many those are.
    """

    rows: Sequence[BoardRow]
    page: int
    total: int
    known: int
    in_any_state: int
    counts: Sequence[tuple[State, int]]
    type_names: Sequence[str]
    tags: Sequence[str]


def list_pipelines(view: BoardView, filters: Filters) -> Listing:
    """The page that is asked for; the last one when there are not so many."""
    fitting = _fitting(view.rows, filters)
    counts = _count_states(fitting)
    shown = [row for row in fitting if filters.state in _states(row)] if filters.state else fitting
    page = min(filters.page, max(1, -(-len(shown) // PAGE_SIZE)))
    return Listing(
        rows=_sorted(shown, filters.order)[(page - 1) * PAGE_SIZE : page * PAGE_SIZE],
        page=page,
        total=len(shown),
        known=len(view.rows),
        in_any_state=len(fitting),
        counts=[(state, counts[state]) for state in State if counts[state] or state == filters.state],
        type_names=_choices((row.type_name for row in view.rows), filters.type),
        tags=_choices((tag for row in view.rows for tag in row.tags), filters.tag),
    )


def _fitting(rows: Sequence[BoardRow], filters: Filters) -> Sequence[BoardRow]:
    """Those that fit the filters, but for the state."""
    if filters.type:
        rows = [row for row in rows if row.type_name == filters.type]
    if filters.tag:
        rows = [row for row in rows if filters.tag in row.tags]
    for word in filters.q.split():
        rows = [row for row in rows if word in row.name]
    return rows


def _count_states(rows: Sequence[BoardRow]) -> Counter[str]:
    # Of thousands of pipelines most are alike: each kind is looked at once.
    kinds = Counter((row.active, row.muted, row.conditions) for row in rows)
    counts: Counter[str] = Counter()
    for (active, muted, conditions), number in kinds.items():
        for state in _states_of(conditions, active=active, muted=muted):
            counts[state] += number
    return counts


def _states(row: BoardRow) -> frozenset[str]:
    return _states_of(row.conditions, active=row.active, muted=row.muted)


def _states_of(conditions: frozenset[str], *, active: bool, muted: bool) -> frozenset[str]:
    states = conditions if active else frozenset({State.PAUSED})
    return states | {State.MUTED} if muted else states


def _choices(values: Iterable[str], chosen: str) -> list[str]:
    """What a list of choices offers; what is chosen stays in it though nothing has it any more."""
    return sorted({*values, chosen} - {""})


_RANK: dict[str, int] = {state: rank for rank, state in enumerate(State)}
_KEYS: dict[str, Callable[[BoardRow], Any]] = {
    "status": lambda row: _RANK[row.status],
    "name": attrgetter("name"),
    "type": attrgetter("type_name"),
    "last_run": attrgetter("last_start"),
    "duration": attrgetter("last_seconds"),
    "last_write": attrgetter("last_write"),
    "next_due": lambda row: next_due(active=row.active, run=row.expected_next_run, write=row.stale_at),
}


def next_due(*, active: bool, run: datetime | None, write: datetime | None) -> datetime | None:
    """When its next run is due of a pipeline, or without a schedule its next write; None where nothing is."""
    return (run or write) if active else None


def _sorted(rows: Iterable[BoardRow], order: str) -> list[BoardRow]:
    """In that order, by name where it is the same; what has no value comes last, whichever way."""
    key = _KEYS[order.lstrip("-")]
    having: list[BoardRow] = []
    lacking: list[BoardRow] = []
    for row in sorted(rows, key=_KEYS["name"]):
        (lacking if key(row) is None else having).append(row)
    having.sort(key=key, reverse=order.startswith("-"))
    return having + lacking
