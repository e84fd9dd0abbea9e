"""The state of the page of incidents, as its URL has it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.reading import IncidentFilter, WantedState
from watcher_server.kit.fields import Id, SearchText, check_no_nul
from watcher_server.web.paging import PAGE_SIZE, FormQuery

PATH = "/ui/incidents"

# An owner or a tag, in full.
Whole = Annotated[str, StringConstraints(strip_whitespace=True, max_length=150), AfterValidator(check_no_nul)]


class ShownState(StrEnum):
    """Which incidents: those that are not resolved, those that nobody has yet, those somebody has, or the others."""

    LIVE = "live"
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    ALL = "all"


class Done(StrEnum):
    """What was just done, for the page to say so."""

    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    SNOOZED = "snoozed"
    UNSNOOZED = "unsnoozed"
    ASSIGNED = "assigned"
    RESOLVED = "resolved"
    COMMENTED = "commented"
    SENT = "sent"


class IncidentsView(FormQuery):
    """Which incidents the page shows; ``root`` is an incident of which only what it explains is shown.

    ``done`` is what the form that led here did, to ``changed`` incidents; those of ``missed`` somebody else had changed
    before, and with those of ``unfit`` it does not go. ``selected`` are those that are ticked, which stay so.
    """

    messages = frozenset({"done", "changed", "missed", "unfit", "selected"})

    state: ShownState = ShownState.LIVE
    kind: Kind | None = None
    owner: Whole | None = None
    tag: Whole | None = None
    pipeline_id: Id | None = None
    root: Id | None = None
    q: SearchText | None = None
    days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    page: Annotated[int, Field(ge=1, le=100_000)] = 1
    done: Done | None = None
    changed: Annotated[int, Field(ge=0, le=PAGE_SIZE)] = 1
    missed: Annotated[Sequence[Id], Field(max_length=PAGE_SIZE)] = ()
    unfit: Annotated[Sequence[Id], Field(max_length=PAGE_SIZE)] = ()
    selected: Annotated[Sequence[str], Field(max_length=PAGE_SIZE)] = ()

    @property
    def is_narrowed(self) -> bool:
        """Whether more than the state leaves incidents out."""
        return any((self.kind, self.owner, self.tag, self.q, self.days)) or any(
            wanted is not None for wanted in (self.pipeline_id, self.root)
        )

    @property
    def is_grouped(self) -> bool:
        """Whether what is explained stands below its root. In a narrowed list the root may be missing."""
        return self.state is ShownState.LIVE and not self.is_narrowed

    @property
    def ticked(self) -> frozenset[int]:
        """The incidents that are ticked."""
        ids = (each.partition(".")[0] for each in self.selected)
        return frozenset(int(each) for each in ids if each.isascii() and each.isdecimal() and len(each) < 20)  # noqa: PLR2004 - a number

    def filter(self) -> IncidentFilter:
        """The incidents that the page shows."""
        return IncidentFilter(
            state=None if self.state is ShownState.ALL else WantedState(self.state.value),
            kind=self.kind,
            owner=self.owner,
            tag=self.tag,
            pipeline_id=self.pipeline_id,
            root_id=self.root,
            explained=False if self.is_grouped else None,
            since=None if self.days is None else datetime.now(UTC) - timedelta(days=self.days),
            q=self.q,
        )


class SingleView(FormQuery):
    """What the page of one incident says besides: what was just done, that somebody was faster, that it still holds."""

    done: Done | None = None
    missed: bool = False
    holds: bool = False
