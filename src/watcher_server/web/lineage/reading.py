"""The view of the lineage page: its addresses, the pipelines between them, and the path through them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.kit.configuration import find
from watcher_server.lineage.graph import read_nodes
from watcher_server.lineage.models import AddressLineageClosure
from watcher_server.lineage.schemas import GraphNode
from watcher_server.web.lineage.state import STEP, Side, ViewState
from watcher_server.web.lineage.walking import MOST_NODES, Walk, find_shown

# One pipeline that reads and writes hundreds of addresses has more edges than anybody could follow.
MOST_EDGES = 2_000


@dataclass(frozen=True, slots=True)
class PipelineName:
    """A pipeline on an edge."""

    id: int
    name: str
    type_name: str
    active: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """What leads from one address straight to another: one pipeline or several."""

    source: int
    target: int
    pipelines: tuple[PipelineName, ...]

    @property
    def active(self) -> bool:
        """Whether any of the pipelines is."""
        return any(pipeline.active for pipeline in self.pipelines)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """One side of an address: how many neighbours are shown and how many are not, and the views that change that.

    ``more_url`` is None where nothing is hidden, ``less_url`` where nothing was opened: what is shown there has other
    reasons.
    """

    shown: int
    hidden: int
    more_url: str | None
    less_url: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """An address of the view; ``hops`` from the centre within it, below zero upstream, None on neither way."""

    node: GraphNode
    hops: int | None
    pipelines: tuple[PipelineName, ...]
    upstream: Neighbours
    downstream: Neighbours

    @property
    def way(self) -> str:
        """Where it lies: "centre", "upstream", "downstream", "beside"."""
        if self.hops is None:
            return "beside"
        return "upstream" if self.hops < 0 else "downstream" if self.hops else "centre"


@dataclass(frozen=True, slots=True)
class View:
    """All that the page shows of a state; ``path`` are the addresses on it, empty when there is none."""

    state: ViewState
    centre: GraphNode
    places: tuple[Place, ...]
    edges: tuple[Edge, ...]
    path: tuple[int, ...]
    truncated: bool
    names: Mapping[int, str]

    def group(self, way: str) -> list[Place]:
        """The addresses that lie so: at the centre, upstream, downstream, or on neither way."""
        return [place for place in self.places if place.way == way]

    @property
    def path_asked(self) -> bool:
        """Whether both ends of a path are chosen."""
        return self.state.path_from is not None and self.state.path_to is not None

    def graph(self) -> dict[str, Any]:
        """What the drawing needs, as JSON."""
        pipelines = {pipeline.id: pipeline for edge in self.edges for pipeline in edge.pipelines}
        return {
            "centre": self.state.centre,
            "name": self.centre.name,
            "selected": self.state.selected,
            "path": self.path,
            "nodes": [_drawn(place) for place in self.places],
            "edges": [
                {"source": edge.source, "target": edge.target, "pipelines": [each.id for each in edge.pipelines]}
                for edge in self.edges
            ],
            "pipelines": {each.id: {"name": each.name, "active": each.active} for each in pipelines.values()},
        }


def _drawn(place: Place) -> dict[str, Any]:
    node = place.node
    return {
        "id": node.id,
        "name": node.name,
        "type": node.address_type_name,
        "group": node.address_type_group_name,
        "status": node.status,
        "hops": place.hops,
        "hiddenUpstream": node.hidden_upstream,
        "hiddenDownstream": node.hidden_downstream,
    }


async def read_view(session: AsyncSession, state: ViewState) -> View:
    """What the state shows; of more than 500 addresses, the nearest.

    Raises:
        NotFoundError: no address has the id of the centre.
    """
    await find(session, Address, state.centre)
    path = await read_path(session, state.path_from, state.path_to)
    walk = await find_shown(session, state, path[:MOST_NODES])
    ids = sorted(walk.shown)
    edges = await _read_edges(session, ids)
    hops = _count_hops(state.centre, edges)
    nodes = await read_nodes(session, ids, {address_id: hops.get(address_id) or 0 for address_id in ids})
    return View(
        state=state,
        centre=next(node for node in nodes if node.id == state.centre),
        places=_place(walk, nodes, edges, hops),
        edges=edges[:MOST_EDGES],
        path=path,
        truncated=walk.truncated or len(edges) > MOST_EDGES,
        names={node.id: node.name for node in nodes} | await _read_ends(session, state),
    )


async def read_path(session: AsyncSession, one: int | None, other: int | None) -> tuple[int, ...]:
    """A shortest path that data takes between two addresses, whichever of them it comes from; empty for none.

    As the closure has it, which follows a change of lineage within seconds.
    """
    if one is None or other is None:
        return ()
    for ends in ((one, other), (other, one)):
        row = await session.get(AddressLineageClosure, ends)
        if row is not None:
            return tuple(row.lineage_path)
    return ()


async def _read_ends(session: AsyncSession, state: ViewState) -> dict[int, str]:
    """The names of the ends of a path, which need not be in the view."""
    ends = [await session.get(Address, end) for end in (state.path_from, state.path_to) if end is not None]
    return {address.id: address.name for address in ends if address is not None}


# By ix_address_lineage_downstream.
_EDGES = """
SELECT edge.source_address_id AS source, edge.target_address_id AS target,
    array_agg(edge.pipeline_id ORDER BY edge.pipeline_id) AS pipeline_ids
FROM unnest(CAST(:ids AS bigint[])) AS source (id)
JOIN address_lineage AS edge ON edge.source_address_id = source.id
JOIN unnest(CAST(:ids AS bigint[])) AS target (id) ON edge.target_address_id = target.id
GROUP BY edge.source_address_id, edge.target_address_id
ORDER BY edge.source_address_id, edge.target_address_id
LIMIT :most
"""

# By the primary keys.
_PIPELINES = """
SELECT pipeline.id, pipeline.name, pipeline_type.name AS type_name, pipeline.active
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
JOIN pipeline USING (id)
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
"""


async def _read_edges(session: AsyncSession, ids: Sequence[int]) -> tuple[Edge, ...]:
    """The edges among these addresses, one more than are shown when there are too many."""
    rows = (await session.execute(text(_EDGES), {"ids": ids, "most": MOST_EDGES + 1})).all()
    pipelines = await read_pipelines(session, {number for row in rows for number in row.pipeline_ids})
    return tuple(
        Edge(row.source, row.target, tuple(pipelines[number] for number in row.pipeline_ids if number in pipelines))
        for row in rows
    )


async def read_pipelines(session: AsyncSession, ids: Iterable[int]) -> dict[int, PipelineName]:
    """These pipelines, by id."""
    rows = await session.execute(text(_PIPELINES), {"ids": sorted(ids)})
    return {row.id: PipelineName(row.id, row.name, row.type_name, row.active) for row in rows}


def _count_hops(centre: int, edges: Iterable[Edge]) -> dict[int, int]:
    """How far each address is from the centre on the edges shown; what a cycle makes both is downstream."""
    targets, sources = defaultdict(list), defaultdict(list)
    for edge in edges:
        targets[edge.source].append(edge.target)
        sources[edge.target].append(edge.source)
    down, up = _distances(centre, targets), _distances(centre, sources)
    hops = {address_id: -distance for address_id, distance in up.items()}
    for address_id, distance in down.items():
        if distance <= abs(hops.get(address_id, distance)):
            hops[address_id] = distance
    return hops


def _distances(centre: int, ways: Mapping[int, Sequence[int]]) -> dict[int, int]:
    distances, frontier = {centre: 0}, [centre]
    while frontier:
        reached = []
        for here in frontier:
            for there in ways.get(here, ()):
                if there not in distances:
                    distances[there] = distances[here] + 1
                    reached.append(there)
        frontier = reached
    return distances


def _place(walk: Walk, nodes: Sequence[GraphNode], edges: Iterable[Edge], hops: Mapping[int, int]) -> tuple[Place, ...]:
    """The addresses as the tables list them: upstream, the centre, downstream, the rest; nearest first."""
    into, out_of = defaultdict(list), defaultdict(list)
    for edge in edges:
        if edge.source != edge.target:
            into[edge.target].append(edge)
            out_of[edge.source].append(edge)
    opener = walk.state.opener()

    def neighbours(address_id: int, side: Side, shown: int, hidden: int) -> Neighbours:
        # Whatever is shown by other ways counts too, so that so many more do appear.
        more = opener(address_id, side, shown + STEP) if hidden else None
        less = opener(address_id, side, 0) if walk.neighbours.get((address_id, side)) else None
        return Neighbours(shown, hidden, more, less)

    def place(node: GraphNode) -> Place:
        distance = hops.get(node.id)
        # What makes an address upstream of something is who reads it; of all others one asks who writes them.
        near = out_of[node.id] if distance is not None and distance < 0 else into[node.id]
        return Place(
            node,
            distance,
            tuple({pipeline.id: pipeline for edge in near for pipeline in edge.pipelines}.values()),
            neighbours(node.id, Side.UPSTREAM, len(into[node.id]), node.hidden_upstream),
            neighbours(node.id, Side.DOWNSTREAM, len(out_of[node.id]), node.hidden_downstream),
        )

    return tuple(sorted(map(place, nodes), key=_listed))


def _listed(place: Place) -> tuple[int, str]:
    return (2**31 if place.hops is None else abs(place.hops), place.node.name)
