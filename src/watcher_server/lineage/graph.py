"""The graph around one address, read from the edges: it shows a change of lineage before the closure does."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import BigInteger, ColumnClause, any_, column, literal, null, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.database.metadata import MOST_BYTES_PER_ANSWER, show_metadata
from watcher_server.database.rows import find
from watcher_server.lineage.schemas import MOST_EDGES, MOST_NODES, Direction, GraphEdge, GraphNode, LineageGraph
from watcher_server.lineage.status import read_address_statuses
from watcher_server.lineage.surroundings import ALL, find_surroundings
from watcher_server.pipelines.models import Pipeline


class EdgePipeline(NamedTuple):
    """A pipeline on an edge."""

    id: int
    name: str
    type_name: str
    active: bool
    shown_name: str


class Edge(NamedTuple):
    """What leads from one address straight to another: one pipeline or several, each with its origin by its id."""

    source: int
    target: int
    pipelines: Sequence[EdgePipeline]
    origins: Mapping[int, str]


async def read_graph(
    session: AsyncSession, address_id: int, direction: Direction, depth: int | None, limit: int = MOST_NODES
) -> LineageGraph:
    """The address, what it reaches within ``depth`` hops (all without it), and the direct edges among these.

    Of more than ``limit`` addresses, the nearest; of those equally near, the first by id. Of more than ``MOST_EDGES``
    edges, those among the nearest addresses. Raises NotFoundError if there is no such address.
    """
    await find(session, Address, address_id)
    found = await find_surroundings(session, address_id, direction, depth or ALL, limit=limit)
    nearest_first = sorted(found.distance, key=lambda id_: (abs(found.distance[id_]), id_))
    # One for each pipeline on it.
    several = [
        (edge, pipeline)
        for edge in await read_edges(session, nearest_first, MOST_EDGES + 1)
        for pipeline in edge.pipelines
    ]
    kept = sorted(several[:MOST_EDGES], key=lambda each: (each[0].source, each[0].target, each[1].id))
    metadata = await _read_pipeline_metadata(session, Counter(pipeline.id for _, pipeline in kept))
    edges = [
        GraphEdge(
            source_address_id=edge.source,
            target_address_id=edge.target,
            depth=1,
            lineage_path=[edge.source, edge.target],
            pipeline_id=pipeline.id,
            pipeline_name=pipeline.name,
            pipeline_type_name=pipeline.type_name,
            pipeline_metadata=metadata.get(pipeline.id),
            pipeline_active=pipeline.active,
            origin=edge.origins[pipeline.id],
        )
        for edge, pipeline in kept
    ]
    return LineageGraph(
        nodes=await read_nodes(session, nearest_first, found.distance),
        edges=edges,
        truncated=found.truncated or len(several) > MOST_EDGES,
    )


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
SELECT address.id, address.name, address.display_name, address_type.name AS address_type_name,
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

# In this order come the rows, for the metadata is shown last.
_NODE_COLUMNS: list[ColumnClause[Any]] = [
    *map(column, ("id", "name", "display_name", "address_type_name", "address_type_group_name")),
    *map(column, ("hidden_upstream", "hidden_downstream")),
    column("address_metadata", JSONB),
]
_FOUND = text(_NODES).columns(*_NODE_COLUMNS).subquery()
_WITHOUT_METADATA = select(*_FOUND.c[:-1], null()).order_by(_FOUND.c.id)


async def read_nodes(
    session: AsyncSession, ids: Sequence[int], depths: Mapping[int, int], *, metadata: bool = True
) -> list[GraphNode]:
    """These addresses by id, each with its depth, and with how many neighbours it has that are not among them.

    Without ``metadata`` that of each is None: the pages show none, and what may be shown of it is measured.
    """
    nodes = show_metadata(_FOUND, "address_metadata") if metadata else _WITHOUT_METADATA
    rows = (await session.execute(nodes, {"ids": ids})).all()
    statuses = await read_address_statuses(session, ids)
    return [
        GraphNode(
            id=id_,
            name=name,
            display_name=display_name,
            address_type_name=type_name,
            address_type_group_name=group_name,
            address_metadata=shown,
            depth=depths.get(id_, 0),
            status=statuses[id_],
            hidden_upstream=hidden_upstream,
            hidden_downstream=hidden_downstream,
        )
        for id_, name, display_name, type_name, group_name, hidden_upstream, hidden_downstream, shown in rows
    ]


# By ix_address_lineage_downstream.
_EDGES = text("""
SELECT source.id, target.id, array_agg(edge.pipeline_id ORDER BY edge.pipeline_id),
    array_agg(edge.origin ORDER BY edge.pipeline_id)
FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS source (id, place)
JOIN address_lineage AS edge ON edge.source_address_id = source.id
JOIN unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS target (id, place) ON edge.target_address_id = target.id
GROUP BY source.id, source.place, target.id, target.place
ORDER BY greatest(source.place, target.place), source.id, target.id
LIMIT :most
""")

# By the primary keys.
_PIPELINES = text("""
SELECT pipeline.id, pipeline.name, pipeline_type.name, pipeline.active,
    coalesce(pipeline.display_name, pipeline.name)
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
JOIN pipeline USING (id)
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
""")


async def read_edges(session: AsyncSession, ids: Sequence[int], most: int) -> list[Edge]:
    """The edges among these addresses, first those among the first addresses; at most ``most``."""
    rows = (await session.execute(_EDGES, {"ids": ids, "most": most})).all()
    pipeline_ids = sorted({pipeline_id for _, _, several, _ in rows for pipeline_id in several})
    pipelines = {row[0]: EdgePipeline(*row) for row in await session.execute(_PIPELINES, {"ids": pipeline_ids})}
    return [
        # A pipeline that began to exist between the two statements is left out.
        Edge(
            source,
            target,
            [pipelines[pipeline_id] for pipeline_id in several if pipeline_id in pipelines],
            dict(zip(several, origins, strict=True)),
        )
        for source, target, several, origins in rows
    ]


async def _read_pipeline_metadata(session: AsyncSession, edges: Counter[int]) -> dict[int, dict[str, Any] | None]:
    """The metadata of each pipeline that has any; the marker where edges would repeat it too often for an answer."""
    ids = literal(list(edges), ARRAY(BigInteger))
    has_any = Pipeline.pipeline_metadata.is_not(None)
    pipelines = select(Pipeline.id, Pipeline.pipeline_metadata).where(Pipeline.id == any_(ids), has_any).subquery()
    found: dict[int, dict[str, Any] | None] = {}
    left = MOST_BYTES_PER_ANSWER
    for row in await session.execute(show_metadata(pipelines, "pipeline_metadata")):
        size = len(to_json(row.pipeline_metadata))
        fits = size * edges[row.id] <= left
        left -= size * edges[row.id] if fits else 0
        found[row.id] = row.pipeline_metadata if fits else {"truncated": True, "bytes": size}
    return found
