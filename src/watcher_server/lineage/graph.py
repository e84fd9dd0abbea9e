"""The graph around one address, read from the edges: right at once, also before the closure is."""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.kit.configuration import find
from watcher_server.lineage.schemas import MOST_NODES, Direction, GraphEdge, GraphNode, LineageGraph
from watcher_server.lineage.status import read_address_statuses


async def read_graph(
    session: AsyncSession, address_id: int, direction: Direction, depth: int | None, limit: int = MOST_NODES
) -> LineageGraph:
    """The address, what it reaches within ``depth`` hops (all without it), and the direct edges among these.

    Of more than ``limit`` addresses, the nearest; of those equally near, the first by id.

    Raises:
        NotFoundError: no such address.
    """
    await find(session, Address, address_id)
    depths, truncated = await _walk(session, address_id, direction, depth, limit)
    ids = sorted(depths)
    return LineageGraph(
        nodes=await read_nodes(session, ids, depths), edges=await _read_edges(session, ids), truncated=truncated
    )


# By ix_address_lineage_downstream and ix_address_lineage_upstream.
_NEXT = """
SELECT DISTINCT 1 AS sign, target_address_id AS id
FROM unnest(CAST(:downstream AS bigint[])) AS here (id) JOIN address_lineage ON source_address_id = here.id
UNION ALL
SELECT DISTINCT -1, source_address_id
FROM unnest(CAST(:upstream AS bigint[])) AS here (id) JOIN address_lineage ON target_address_id = here.id
"""
_DOWNSTREAM, _UPSTREAM = 1, -1
_SIGNS = {
    Direction.DOWNSTREAM: (_DOWNSTREAM,),
    Direction.UPSTREAM: (_UPSTREAM,),
    Direction.BOTH: (_DOWNSTREAM, _UPSTREAM),
}


async def _walk(
    session: AsyncSession, address_id: int, direction: Direction, depth: int | None, limit: int
) -> tuple[dict[int, int], bool]:
    """How many hops away each address is, below zero upstream; whether any was left out for the limit."""
    depths, hops = {address_id: 0}, 0
    visited = {sign: {address_id} for sign in _SIGNS[direction]}
    frontiers = {sign: [address_id] for sign in _SIGNS[direction]}
    while any(frontiers.values()) and (depth is None or hops < depth):
        hops += 1
        frontiers = await _hop(session, frontiers, visited)
        reached: dict[int, int] = {}
        # Downstream comes first: what a cycle makes equally far both ways counts as downstream.
        for sign, frontier in frontiers.items():
            for there in frontier:
                reached.setdefault(there, sign * hops)
        new = sorted(reached.keys() - depths.keys())
        room = limit - len(depths)
        depths.update((there, reached[there]) for there in new[:room])
        if len(new) > room:
            return depths, True
    return depths, False


async def _hop(
    session: AsyncSession, frontiers: dict[int, list[int]], visited: dict[int, set[int]]
) -> dict[int, list[int]]:
    """What one hop more reaches for the first time in each direction; these are visited then."""
    parameters = {"downstream": frontiers.get(_DOWNSTREAM, []), "upstream": frontiers.get(_UPSTREAM, [])}
    reached: dict[int, list[int]] = {sign: [] for sign in frontiers}
    for sign, there in await session.execute(text(_NEXT), parameters):
        if there not in visited[sign]:
            visited[sign].add(there)
            reached[sign].append(there)
    return reached


# Neighbours outside the graph, by ix_address_lineage_upstream and ix_address_lineage_downstream.
_NODES = """
WITH wanted AS MATERIALIZED (SELECT unnest(CAST(:ids AS bigint[])) AS id), hidden_upstream AS (
    SELECT wanted.id, count(DISTINCT source_address_id) AS number
    FROM wanted JOIN address_lineage ON target_address_id = wanted.id
    WHERE source_address_id NOT IN (SELECT id FROM wanted)
    GROUP BY wanted.id
), hidden_downstream AS (
    SELECT wanted.id, count(DISTINCT target_address_id) AS number
    FROM wanted JOIN address_lineage ON source_address_id = wanted.id
    WHERE target_address_id NOT IN (SELECT id FROM wanted)
    GROUP BY wanted.id
)
SELECT address.id, address.name, address_type.name AS address_type_name,
    address_type.group_name AS address_type_group_name, address.address_metadata,
    coalesce(hidden_upstream.number, 0) AS hidden_upstream,
    coalesce(hidden_downstream.number, 0) AS hidden_downstream
FROM wanted
LEFT JOIN hidden_upstream USING (id)
LEFT JOIN hidden_downstream USING (id)
JOIN address USING (id)
JOIN address_type ON address_type.id = address.address_type_id
ORDER BY address.id
"""

# By ix_address_lineage_downstream.
_EDGES = """
SELECT edge.source_address_id, edge.target_address_id, 1 AS depth,
    ARRAY[edge.source_address_id, edge.target_address_id] AS lineage_path,
    pipeline.id AS pipeline_id, pipeline.name AS pipeline_name, pipeline_type.name AS pipeline_type_name,
    pipeline.pipeline_metadata, pipeline.active AS pipeline_active
FROM unnest(CAST(:ids AS bigint[])) AS source (id)
JOIN address_lineage AS edge ON edge.source_address_id = source.id
JOIN unnest(CAST(:ids AS bigint[])) AS target (id) ON edge.target_address_id = target.id
JOIN pipeline ON pipeline.id = edge.pipeline_id
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
ORDER BY edge.source_address_id, edge.target_address_id, pipeline.id
"""


async def read_nodes(session: AsyncSession, ids: Sequence[int], depths: Mapping[int, int]) -> list[GraphNode]:
    """These addresses by id, with how many neighbours each has that are not among them; ``depths`` as told."""
    rows = (await session.execute(text(_NODES), {"ids": ids})).all()
    statuses = await read_address_statuses(session, ids)
    return [GraphNode(**row._asdict(), depth=depths[row.id], status=statuses[row.id]) for row in rows]


async def _read_edges(session: AsyncSession, ids: Sequence[int]) -> list[GraphEdge]:
    rows = await session.execute(text(_EDGES), {"ids": ids})
    return [GraphEdge.model_validate(row) for row in rows]
