"""What lies downstream and upstream: of an address, and of what a pipeline writes.

All of it is read from the closure, as alerts and pages count: one index range, however deep the graph is. The closure
follows a change of lineage within seconds; the graph around one address, read from the edges, shows it at once.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.kit.configuration import find
from watcher_server.kit.listing import Page
from watcher_server.lineage.schemas import Reach, ReachedAddress

# The targets by the unique index on (pipeline_id, source_address_id, target_address_id), what they reach by the primary
# key of the closure.
_COUNT_DOWNSTREAM = """
WITH written AS (
    SELECT DISTINCT pipeline_id, target_address_id AS id
    FROM address_lineage WHERE pipeline_id = ANY(CAST(:pipeline_ids AS bigint[]))
)
SELECT written.pipeline_id, count(DISTINCT closure.target_address_id) AS number
FROM written JOIN address_lineage_closure AS closure ON closure.source_address_id = written.id
WHERE NOT EXISTS (
    SELECT FROM written AS own WHERE own.pipeline_id = written.pipeline_id AND own.id = closure.target_address_id
)
GROUP BY written.pipeline_id
"""


def count_downstream(connection: Connection, pipeline_ids: Sequence[int]) -> dict[int, int]:
    """How many addresses lie downstream of what each pipeline writes, its own targets not counted; none is left out.

    As the closure has it, which is brought up to date within seconds of a change of lineage.
    """
    rows = connection.execute(text(_COUNT_DOWNSTREAM), {"pipeline_ids": list(pipeline_ids)})
    return {row.pipeline_id: row.number for row in rows}


def downstream_text(count: int) -> str:
    """How an alert puts it; empty for none."""
    return f"{count:,} address{'' if count == 1 else 'es'} downstream" if count else ""


# By the primary key.
_COUNT_FED_BY = """
SELECT count(*) FROM address_lineage_closure
WHERE source_address_id = :address_id AND depth BETWEEN 1 AND :max_depth
"""

_FED_BY = """
SELECT target_address_id AS id, depth, lineage_path FROM address_lineage_closure
WHERE source_address_id = :address_id AND depth BETWEEN 1 AND :max_depth
ORDER BY depth, target_address_id LIMIT :limit OFFSET :offset
"""

# By ix_address_lineage_closure_target_address_id.
_COUNT_FEEDING = """
SELECT count(*) FROM address_lineage_closure
WHERE target_address_id = :address_id AND depth BETWEEN 1 AND :max_depth
"""

_FEEDING = """
SELECT source_address_id AS id, depth, lineage_path FROM address_lineage_closure
WHERE target_address_id = :address_id AND depth BETWEEN 1 AND :max_depth
ORDER BY depth, source_address_id LIMIT :limit OFFSET :offset
"""

# The addresses of a page, the pipelines that write each by ix_address_lineage_upstream.
_DESCRIBED = """
SELECT address.id, address.name, address_type.name AS address_type_name,
    address_type.group_name AS address_type_group_name, coalesce(writers.pipelines, '[]') AS pipelines
FROM unnest(CAST(:ids AS bigint[])) AS reached (id)
JOIN address USING (id)
JOIN address_type ON address_type.id = address.address_type_id
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('id', pipeline.id, 'name', pipeline.name) ORDER BY pipeline.id) AS pipelines
    FROM (SELECT DISTINCT pipeline_id AS id FROM address_lineage WHERE target_address_id = reached.id) AS writing
    JOIN pipeline USING (id)
) AS writers
"""

# More hops than there can be addresses between two.
_ANY_DEPTH = 2**31 - 1


async def read_downstream(session: AsyncSession, address_id: int, page: Page, max_depth: int | None) -> Reach:
    """What the address feeds, at any distance up to ``max_depth`` hops: nearest first, then by id.

    Raises:
        NotFoundError: no such address.
    """
    bounds = {"address_id": address_id, "max_depth": max_depth or _ANY_DEPTH}
    return await _read_reach(session, _COUNT_FED_BY, _FED_BY, bounds, page)


async def read_upstream(session: AsyncSession, address_id: int, page: Page, max_depth: int | None) -> Reach:
    """What feeds the address, at any distance up to ``max_depth`` hops: nearest first, then by id.

    Raises:
        NotFoundError: no such address.
    """
    bounds = {"address_id": address_id, "max_depth": max_depth or _ANY_DEPTH}
    return await _read_reach(session, _COUNT_FEEDING, _FEEDING, bounds, page)


async def _read_reach(session: AsyncSession, count: str, reached: str, bounds: dict[str, int], page: Page) -> Reach:
    await find(session, Address, bounds["address_id"])
    total: int = (await session.execute(text(count), bounds)).scalar_one()
    rows = (await session.execute(text(reached), {**bounds, "limit": page.limit, "offset": page.offset})).all()
    described = await session.execute(text(_DESCRIBED), {"ids": [row.id for row in rows]})
    by_id = {row.id: row._asdict() for row in described}
    addresses = [ReachedAddress(**by_id[row.id], depth=row.depth, lineage_path=row.lineage_path) for row in rows]
    return Reach(address_id=bounds["address_id"], total=total, addresses=addresses)
