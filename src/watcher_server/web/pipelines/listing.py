"""Which pipelines the list shows, and in which order."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlencode

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.errors import ConflictError
from watcher_server.kit.fields import INT_MAX, SearchText, check_no_nul
from watcher_server.pipelines.board import ATTENTION, Wanted, choose_pipelines, find_fitting, read_choices
from watcher_server.pipelines.status import WORDS, Word
from watcher_server.web.paging import PAGE_SIZE, url_builder

PATH = "/ui/pipelines"

# A paused pipeline has no other state, except muted.
State = Word | Literal["muted", "attention"]
STATES = (ATTENTION, *WORDS, "muted")
# Words of earlier versions, in addresses that people keep.
_FORMER = {"failed": "failing", "overdue": "late"}

Order = Literal[
    "status", "-status", "name", "-name", "type", "-type", "last_run", "-last_run", "duration", "-duration",
    "last_write", "-last_write", "next_due", "-next_due",
]  # fmt: skip
DEFAULT_ORDER: Order = "status"


@dataclass(frozen=True)
class Filters:
    """The filters of the list. Every word of ``q`` is part of the name; a type and a tag are matched whole."""

    q: Annotated[SearchText, Query()] = ""
    type: Annotated[SearchText, Query()] = ""
    tag: Annotated[str, AfterValidator(check_no_nul), Query(max_length=1_000)] = ""
    state: Annotated[State | None, BeforeValidator(lambda value: _FORMER.get(value, value) or None), Query()] = None
    order: Annotated[Order, BeforeValidator(lambda value: value or DEFAULT_ORDER), Query()] = DEFAULT_ORDER
    page: Annotated[int, Query(ge=1, le=INT_MAX)] = 1

    @property
    def are_set(self) -> bool:
        """Whether anything is left out of the list."""
        return bool(self.q or self.type or self.tag or self.state)

    @property
    def wanted(self) -> Wanted:
        """What has to hold of the pipelines that it shows."""
        return Wanted(self.q.split(), self.type, self.tag, self.state)

    @property
    def query(self) -> str:
        """The filters alone, as a query string, which :func:`find_all` reads."""
        chosen = {"q": self.q, "type": self.type, "tag": self.tag, "state": self.state or ""}
        return urlencode({name: value for name, value in chosen.items() if value})

    def url(self) -> Callable[..., str]:
        """A function that gives the address of this list, or of the list with a part of its state changed."""
        order = None if self.order == DEFAULT_ORDER else self.order
        page = None if self.page == 1 else self.page
        return url_builder(PATH, q=self.q, type=self.type, tag=self.tag, state=self.state, order=order, page=page)


_filters = TypeAdapter(Filters)


@dataclass(frozen=True)
class Listing:
    """One page of the list.

    ``total`` is how many fit the filters, ``known`` how many there are. ``counts`` has for each state how many of
    those have it that fit the other filters; ``in_any_state`` is how many those are.
    """

    ids: Sequence[int]
    page: int
    total: int
    known: int
    in_any_state: int
    counts: Sequence[tuple[str, int]]
    type_names: Sequence[str]
    tags: Sequence[str]


async def list_pipelines(session: AsyncSession, filters: Filters) -> Listing:
    """The requested page, or the last one when the list is shorter."""
    chosen = await choose_pipelines(session, filters.wanted, order=filters.order, page=filters.page, size=PAGE_SIZE)
    choices = await read_choices(session)
    counts = [(state, chosen.counts.get(state, 0)) for state in STATES]
    return Listing(
        ids=chosen.ids,
        page=chosen.page,
        total=chosen.total,
        known=choices.known,
        in_any_state=chosen.in_any_state,
        counts=[(state, number) for state, number in counts if number or state == filters.state],
        type_names=_with(choices.type_names, filters.type),
        tags=_with(choices.tags, filters.tag),
    )


async def find_all(session: AsyncSession, query: str, most: int) -> list[int]:
    """The ids of all pipelines that fit the filters of that query string, at most this number.

    Raises:
        ConflictError: they are no filters of the list.
    """
    try:
        filters = _filters.validate_python(dict(parse_qsl(query)))
    except ValidationError:
        raise ConflictError("These are no filters of the list: open it again.") from None
    return await find_fitting(session, filters.wanted, most)


def _with(values: Iterable[str], chosen: str) -> list[str]:
    """The options of a filter; the chosen one stays though no pipeline has it any more."""
    return sorted({*values, chosen} - {""})
