"""What is affected: addresses below one to which no data comes, because a pipeline that writes it fails or is late."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.lineage.schemas import GraphNode
from watcher_server.lineage.status import read_address_statuses
from watcher_server.lineage.traversal import Graph, traverse
from watcher_server.pipelines.status import HOLDING, WITHOUT_DATA, Status


class Cause(NamedTuple):
    """An address upstream to which no data comes, and how it does."""

    id: int
    name: str
    status: Status


# What the pipelines write by the unique index of the edges, what lies between by
# ix_address_lineage_closure_target_address_id or by the primary key of the closure.
_CAUSES = text(f"""
WITH troubled AS MATERIALIZED (
    SELECT DISTINCT target_address_id AS id FROM address_lineage
    WHERE pipeline_id = ANY(ARRAY({HOLDING}))
), nearest AS (
    SELECT DISTINCT ON (closure.target_address_id) closure.target_address_id AS id, troubled.id AS cause_id
    FROM address_lineage_closure AS closure JOIN troubled ON troubled.id = closure.source_address_id
    WHERE closure.target_address_id = ANY(CAST(:ids AS bigint[])) AND closure.depth > 0
    ORDER BY closure.target_address_id, closure.depth, troubled.id
)
SELECT nearest.id, cause_id, coalesce(address.display_name, address.name) AS name
FROM nearest JOIN address ON address.id = cause_id
""")  # noqa: S608 - of constants


async def find_affected(session: AsyncSession, nodes: Sequence[GraphNode], targets: Graph) -> dict[int, Cause]:
    """Those of these addresses that lie below one without data, each with the nearest such address.

    ``targets`` are the edges among them. What lies beyond is looked up for those with a neighbour upstream that is not
    among them, as the closure has it.
    """
    troubled = {node.id: Cause(node.id, node.shown_name, node.status) for node in nodes if node.status in WITHOUT_DATA}
    edge_of_view = [node.id for node in nodes if node.hidden_upstream and node.id not in troubled]
    beyond = await _read_causes(session, edge_of_view)
    cause_of = {**beyond, **troubled}
    for address_id, before in traverse(targets, [*troubled, *beyond]).items():
        cause_of.setdefault(address_id, cause_of[before])
    return {address_id: cause for address_id, cause in cause_of.items() if address_id not in troubled}


async def find_cause(session: AsyncSession, address_id: int, status: Status) -> Cause | None:
    """The nearest address without data upstream of this one; None where there is none, or it is one itself."""
    return None if status in WITHOUT_DATA else (await _read_causes(session, [address_id])).get(address_id)


async def _read_causes(session: AsyncSession, ids: Collection[int]) -> Mapping[int, Cause]:
    if not ids:
        return {}
    rows = (await session.execute(_CAUSES, {"words": [word.value for word in WITHOUT_DATA], "ids": list(ids)})).all()
    causes = sorted({row.cause_id for row in rows})
    statuses = await read_address_statuses(session, causes) if causes else {}
    return {row.id: Cause(row.cause_id, row.name, statuses[row.cause_id]) for row in rows}
