"""The state of the lineage page, as its URL has it: a view can be sent to a colleague, and Back works."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from fastapi import Query
from markupsafe import Markup, escape
from pydantic import BeforeValidator, StringConstraints

from watcher_server.kit.fields import BIGINT_MAX, Id
from watcher_server.lineage.schemas import Depth, Direction
from watcher_server.lineage.surroundings import Opening, Side
from watcher_server.pipelines.status import Status
from watcher_server.web.paging import url_builder

PATH = "/lineage-graph"
# How many neighbours a side of an address shows at first, and how many more with each click.
STEP = 10

# The status of an address, or that it lies below one without data.
AFFECTED = "affected"
Standing = Status | Literal["affected"]


@dataclass(frozen=True)
class ViewState:
    """The address in the centre, how far to look, the ends of a path, and the selected address.

    ``expanded`` are sides of addresses with the number of neighbours to show there; 0 collapses a side. ``status`` is
    that of the addresses that stand out: the others are faded in the drawing, and not in the table.
    """

    centre: int
    direction: Direction = Direction.BOTH
    depth: int = 1
    expanded: Mapping[Opening, int] = field(default_factory=dict)
    path_from: int | None = None
    path_to: int | None = None
    selected: int | None = None
    status: Standing | None = None

    @property
    def seeks_end(self) -> bool:
        """Whether one end of a path is chosen, and the other is still to be."""
        return (self.path_from is None) != (self.path_to is None)

    def ending_at(self, address_id: int) -> "ViewState":
        """This view with the missing end of its path."""
        ends = {"path_to" if self.path_to is None else "path_from": address_id}
        return self.but(**ends, selected=address_id)

    def url(self, path: str = PATH) -> str:
        """The URL of this view; a part that has its default value is left out."""
        return url_builder(path)(
            source_address_id=self.centre,
            direction=None if self.direction == Direction.BOTH else str(self.direction),
            depth=None if self.depth == 1 else self.depth,
            expanded=",".join(_write_opening(opening, number) for opening, number in self.expanded.items()),
            **{"from": self.path_from, "to": self.path_to},
            status=self.status,
            selected=None if self.selected == self.centre else self.selected,
        )

    def but(self, **changes: object) -> "ViewState":
        """This view with parts of it changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def opener(self) -> Callable[[int, Side, int], Markup]:
        """A function that gives the URL of this view with a number of neighbours on one side of an address.

        It is escaped once, and not for each of hundreds of addresses: what is added are numbers and letters.
        """
        rest = escape(self.but(expanded={}, selected=None).url())
        written = {opening: _write_opening(opening, number) for opening, number in self.expanded.items()}
        before = "".join(f"{token}," for token in written.values())

        def url(address_id: int, side: Side, number: int) -> Markup:
            opening = (address_id, side)
            others = before.replace(f"{written[opening]},", "", 1) if opening in written else before
            expanded = f"{others}{_write_opening(opening, number)}"
            return Markup(f"{rest}&amp;expanded={expanded}&amp;selected={address_id}")  # noqa: S704 - escaped above

        return url


def _write_opening(opening: Opening, number: int) -> str:
    address_id, side = opening
    return f"{address_id}{side}" if number == STEP else f"{address_id}{side}{number}"


def read_state(
    *,
    source_address_id: Annotated[Id | None, Query()] = None,
    direction: Direction = Direction.BOTH,
    depth: Depth = 1,
    expanded: Annotated[str, StringConstraints(max_length=8_000)] = "",
    path_from: Annotated[Id | None, Query(alias="from")] = None,
    path_to: Annotated[Id | None, Query(alias="to")] = None,
    selected: Annotated[Id | None, Query()] = None,
    status: Annotated[Standing | None, BeforeValidator(lambda value: value or None), Query()] = None,
) -> ViewState | None:
    """The view that a request asks for; None before an address is chosen."""
    if source_address_id is None:
        return None
    openings = {}
    for token in expanded.split(","):
        # An address, a side of it, and how many neighbours to show there.
        match = re.fullmatch(r"(\d{1,19})([ud])(\d{1,5})?", token, re.ASCII)
        if match and int(match[1]) <= BIGINT_MAX:
            openings[int(match[1]), Side(match[2])] = STEP if match[3] is None else int(match[3])
    return ViewState(
        centre=source_address_id,
        direction=direction,
        depth=depth,
        expanded=openings,
        path_from=path_from,
        path_to=path_to,
        selected=source_address_id if selected is None else selected,
        status=status,
    )
