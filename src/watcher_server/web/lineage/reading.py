"""The view of the lineage page: its addresses, the pipelines between them, and the path through them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.kit.errors import NotFoundError
from watcher_server.lineage.affected import Cause, find_affected
from watcher_server.lineage.graph import Edge, EdgePipeline, read_edges, read_nodes
from watcher_server.lineage.impact import read_path
from watcher_server.lineage.schemas import GraphNode
from watcher_server.lineage.surroundings import Side, Surroundings, find_surroundings
from watcher_server.lineage.traversal import Graph, distances, reverse
from watcher_server.pipelines.status import Status
from watcher_server.web.lineage.query import AFFECTED, STEP, ViewState

# A drawing of more cannot be read, and a browser lays out this number in well under a second.
MOST_NODES = 500
# From this number on, a drawing is looked through by status and on a small map of the whole.
MANY_NODES = 100
# A single pipeline with hundreds of sources and targets has more edges than a drawing can show.
MOST_EDGES = 2_000


class Neighbours(NamedTuple):
    """One side of an address: how many neighbours are shown and how many are not, and the views that change that.

    ``more_url`` is None where nothing is hidden, ``less_url`` where the side was not opened: neighbours may be shown
    there because they are near the centre in another way.
    """

    shown: int
    hidden: int
    more_url: Markup | None
    less_url: Markup | None


class Place(NamedTuple):
    """An address of the view; ``hops`` from the centre within it, below zero upstream, None on neither way.

    ``cause`` is the nearest address upstream without data; None where there is none, or it is without data itself.
    """

    node: GraphNode
    hops: int | None
    cause: Cause | None
    pipelines: Sequence[EdgePipeline]
    upstream: Neighbours
    downstream: Neighbours

    @property
    def way(self) -> str:
        """Where it lies: "centre", "upstream", "downstream", "beside"."""
        if self.hops is None:
            return "beside"
        return "upstream" if self.hops < 0 else "downstream" if self.hops else "centre"


@dataclass(frozen=True)
class View:
    """All that the page shows of a state; ``path`` are the addresses on it, empty when there is none.

    What only the table and the drawing need is worked out when they ask for it: the head of the page is sent before.
    """

    state: ViewState
    centre: GraphNode
    nodes: Sequence[GraphNode]
    edges: Sequence[Edge]
    path: Sequence[int]
    truncated: bool
    names: Mapping[int, str]
    found: Surroundings
    hops: Mapping[int, int]
    causes: Mapping[int, Cause]

    @cached_property
    def places(self) -> list[Place]:
        """The addresses as the tables list them: nearest to the centre first, and last those on neither way."""
        return _place(self)

    def group(self, way: str) -> list[Place]:
        """The addresses that lie at the centre, upstream, downstream, or beside; see `Place.way`.

        Without those that do not have the status that the view asks for, but for the centre.
        """
        return [place for place in self.places if place.way == way and (way == "centre" or self.stands_out(place))]

    def stands_out(self, place: Place) -> bool:
        """Whether it has the status that the view asks for; true of all when it asks for none."""
        if self.state.status == AFFECTED:
            return place.cause is not None
        return self.state.status in {None, place.node.status}

    def status_of(self, address_id: int) -> Status | None:
        """The status of an address of the view; None for one that is not in it."""
        return next((node.status for node in self.nodes if node.id == address_id), None)

    @property
    def standings(self) -> list[tuple[str, int]]:
        """How many addresses there are of each status, and how many are affected: what can be asked for."""
        counts = Counter(node.status for node in self.nodes)
        found = [(status.value, counts[status]) for status in Status if counts[status]]
        return [*found, *([(AFFECTED, len(self.causes))] if self.causes else [])]

    @property
    def is_large(self) -> bool:
        """Whether there are too many addresses to be seen at once."""
        return len(self.nodes) > MANY_NODES

    def graph(self) -> dict[str, Any]:
        """What the drawing needs, as JSON."""
        return {
            "centre": self.state.centre,
            "name": self.centre.shown_name,
            "selected": self.state.selected,
            "path": self.path,
            "isLarge": self.is_large,
            "nodes": [
                {
                    "id": place.node.id,
                    "name": place.node.shown_name,
                    "type": place.node.address_type_name,
                    "group": place.node.address_type_group_name,
                    "status": place.node.status,
                    "affected": place.cause is not None,
                    "faded": not self.stands_out(place),
                    "hops": place.hops,
                    "hiddenUpstream": place.node.hidden_upstream,
                    "hiddenDownstream": place.node.hidden_downstream,
                }
                for place in self.places
            ],
            "edges": [
                {"source": edge.source, "target": edge.target, "pipelines": [each.id for each in edge.pipelines]}
                for edge in self.edges
            ],
            "pipelines": {
                each.id: {"name": each.shown_name, "active": each.active}
                for edge in self.edges
                for each in edge.pipelines
            },
        }


async def read_view(session: AsyncSession, state: ViewState) -> View:
    """What the state shows; of more than 500 addresses, the nearest.

    Raises:
        NotFoundError: no address has the id of the centre.
    """
    ends = [end for end in (state.path_from, state.path_to) if end is not None]
    path = await read_path(session, *ends) if len(ends) == 2 else []  # noqa: PLR2004 - both ends are chosen
    found = await find_surroundings(
        session,
        state.centre,
        state.direction,
        state.depth,
        limit=MOST_NODES,
        neighbours=STEP,
        expanded=state.expanded,
        path=path[:MOST_NODES],
    )
    ids = list(found.distance)
    found_edges = await read_edges(session, ids, MOST_EDGES + 1)
    edges = sorted(found_edges[:MOST_EDGES], key=lambda edge: (edge.source, edge.target))
    targets: dict[int, list[int]] = defaultdict(list)
    for edge in edges:
        targets[edge.source].append(edge.target)
    hops = _count_hops(state.centre, targets)
    nodes = await read_nodes(session, ids, hops, metadata=False)
    centre = next((node for node in nodes if node.id == state.centre), None)
    if centre is None:
        raise NotFoundError(f"No address has the id {state.centre}.")
    causes = await find_affected(session, nodes, targets)
    # The ends of a path need not be in the view.
    named = [await session.get(Address, end) for end in ends]
    return View(
        state=state,
        centre=centre,
        nodes=nodes,
        edges=edges,
        path=path,
        truncated=found.truncated or len(found_edges) > MOST_EDGES,
        names={address.id: address.shown_name for address in (*nodes, *named) if address is not None},
        found=found,
        hops=hops,
        causes=causes,
    )


def _count_hops(centre: int, targets: Graph) -> dict[int, int]:
    """How far each address is from the centre on the edges shown; what a cycle makes both is downstream."""
    hops = {address_id: -distance for address_id, distance in distances(reverse(targets), centre).items()}
    for address_id, distance in distances(targets, centre).items():
        if distance <= abs(hops.get(address_id, distance)):
            hops[address_id] = distance
    return hops


def _place(view: View) -> list[Place]:
    into, out_of = defaultdict(list), defaultdict(list)
    for edge in view.edges:
        if edge.source != edge.target:
            into[edge.target].append(edge)
            out_of[edge.source].append(edge)
    opener = view.state.opener()

    def neighbours(address_id: int, side: Side, shown: int, hidden: int) -> Neighbours:
        # Neighbours that are shown for other reasons count too, so that the link does show more.
        more = opener(address_id, side, shown + STEP) if hidden else None
        less = opener(address_id, side, 0) if shown and view.found.is_open((address_id, side)) else None
        return Neighbours(shown, hidden, more, less)

    def place(node: GraphNode) -> Place:
        distance = view.hops.get(node.id)
        # Of an upstream address the pipelines that read it matter, of any other those that write it.
        near = out_of[node.id] if distance is not None and distance < 0 else into[node.id]
        return Place(
            node,
            distance,
            view.causes.get(node.id),
            list({pipeline.id: pipeline for edge in near for pipeline in edge.pipelines}.values()),
            neighbours(node.id, Side.UPSTREAM, len(into[node.id]), node.hidden_upstream),
            neighbours(node.id, Side.DOWNSTREAM, len(out_of[node.id]), node.hidden_downstream),
        )

    return sorted(map(place, view.nodes), key=lambda each: (each.hops is None, abs(each.hops or 0), each.node.name))
