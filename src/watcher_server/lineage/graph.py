"""The graph around one address, read from the edges: right at once, also before the closure is."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.kit.configuration import find
from watcher_server.lineage.schemas import Direction, GraphEdge, GraphNode, LineageGraph

_BOTH_WAYS = [Direction.UPSTREAM.value, Direction.DOWNSTREAM.value]


async def read_graph(session: AsyncSession, address_id: int, direction: Direction, depth: int | None) -> LineageGraph:
    """The address, what it reaches within ``depth`` hops (all without it), and the direct edges among these.

    Raises:
        NotFoundError: no such address.
    """
    await find(session, Address, address_id)
    ways = _BOTH_WAYS if direction is Direction.BOTH else [direction.value]
    statement, parameters = (_REACHED, {}) if depth is None else (_REACHED_WITHIN, {"depth": depth})
    reached = await session.scalars(text(statement), {"id": address_id, "ways": ways, **parameters})
    ids = list(reached)
    return LineageGraph(nodes=await _read_nodes(session, ids), edges=await _read_edges(session, ids))


# Each hop by ix_address_lineage_downstream or ix_address_lineage_upstream. UNION keeps each address once, which ends
# cycles.
_REACHED = """
WITH RECURSIVE hop (way, here, there) AS NOT MATERIALIZED (
    SELECT 'downstream', source_address_id, target_address_id FROM address_lineage
    UNION ALL
    SELECT 'upstream', target_address_id, source_address_id FROM address_lineage
), reached (way, id) AS (
    SELECT way, CAST(:id AS bigint) FROM unnest(CAST(:ways AS text[])) AS way
    UNION
    SELECT reached.way, hop.there FROM reached JOIN hop ON hop.way = reached.way AND hop.here = reached.id
)
SELECT DISTINCT id FROM reached ORDER BY id
"""

# As above, one row per hop instead of one per address: a depth beside each address would make the same address
# another row at every turn of a cycle. The walk ends when nothing new is found.
_REACHED_WITHIN = """
WITH RECURSIVE hop (way, here, there) AS NOT MATERIALIZED (
    SELECT 'downstream', source_address_id, target_address_id FROM address_lineage
    UNION ALL
    SELECT 'upstream', target_address_id, source_address_id FROM address_lineage
), walk (way, hops, frontier, visited) AS (
    SELECT way, 0, ARRAY[CAST(:id AS bigint)], ARRAY[CAST(:id AS bigint)]
    FROM unnest(CAST(:ways AS text[])) AS way
    UNION ALL
    SELECT walk.way, walk.hops + 1, next.frontier, walk.visited || next.frontier
    FROM walk CROSS JOIN LATERAL (
        SELECT array_agg(DISTINCT hop.there) AS frontier
        FROM unnest(walk.frontier) AS edge_of (id) JOIN hop ON hop.way = walk.way AND hop.here = edge_of.id
        WHERE NOT EXISTS (SELECT FROM unnest(walk.visited) AS seen (id) WHERE seen.id = hop.there)
    ) AS next
    WHERE walk.hops < :depth AND next.frontier IS NOT NULL
)
SELECT DISTINCT reached.id FROM walk CROSS JOIN unnest(walk.frontier) AS reached (id) ORDER BY reached.id
"""

_NODES = """
SELECT address.id, address.name, address_type.name AS address_type_name,
    address_type.group_name AS address_type_group_name, address.address_metadata
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
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


async def _read_nodes(session: AsyncSession, ids: Sequence[int]) -> list[GraphNode]:
    rows = await session.execute(text(_NODES), {"ids": ids})
    return [GraphNode.model_validate(row) for row in rows]


async def _read_edges(session: AsyncSession, ids: Sequence[int]) -> list[GraphEdge]:
    rows = await session.execute(text(_EDGES), {"ids": ids})
    return [GraphEdge.model_validate(row) for row in rows]
