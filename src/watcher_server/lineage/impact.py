"""What lies downstream and upstream of an address, and downstream of what a pipeline writes.

Everything here is read from the closure: one index range, however deep the graph is. The closure follows a change of
lineage within seconds. The graph around one address is read from the edges and shows the change at once.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.database.rows import find
from watcher_server.kit.listing import Page
from watcher_server.lineage.models import AddressLineageClosure
from watcher_server.lineage.schemas import Reach, ReachedAddress
from watcher_server.lineage.surroundings import ALL

# The targets by the unique index on (pipeline_id, source_address_id, target_address_id), what they reach by the primary
# key of the closure, of which at most ``:most`` entries are read for each target.
_COUNT_DOWNSTREAM = text("""
WITH written AS MATERIALIZED (
    SELECT DISTINCT pipeline_id, target_address_id AS id
    FROM address_lineage WHERE pipeline_id = ANY(CAST(:pipeline_ids AS bigint[]))
)
SELECT written.pipeline_id, count(DISTINCT reached.id) AS number
FROM written CROSS JOIN LATERAL (
    SELECT target_address_id AS id FROM address_lineage_closure AS closure
    WHERE closure.source_address_id = written.id LIMIT CAST(:most AS bigint)
) AS reached
WHERE NOT EXISTS (
    SELECT FROM written AS own WHERE own.pipeline_id = written.pipeline_id AND own.id = reached.id
)
GROUP BY written.pipeline_id
""")


def count_downstream(connection: Connection, pipeline_ids: Sequence[int], *, most: int | None = None) -> dict[int, int]:
    """How many addresses lie downstream of what each pipeline writes, its own targets not counted; none is left out.

    With ``most`` no more than that number is counted below one of its targets. As the closure has it, which is brought
    up to date within seconds of a change of lineage.
    """
    rows = connection.execute(_COUNT_DOWNSTREAM, {"pipeline_ids": list(pipeline_ids), "most": most})
    return {row.pipeline_id: row.number for row in rows}


def downstream_text(count: int) -> str:
    """How an alert puts it; empty for none."""
    return f"{count:,} address{'' if count == 1 else 'es'} downstream" if count else ""


# The pipelines that write each address by ix_address_lineage_upstream.
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


async def read_reach(
    session: AsyncSession, address_id: int, page: Page, max_depth: int | None, *, upstream: bool = False
) -> Reach:
    """What the address feeds, or with ``upstream`` what feeds it, up to ``max_depth`` hops: nearest first, then by id.

    Raises NotFoundError if there is no such address.
    """
    await find(session, Address, address_id)
    closure = AddressLineageClosure
    # By the primary key; upstream by ix_address_lineage_closure_target_address_id.
    here, there = closure.source_address_id, closure.target_address_id
    if upstream:
        here, there = there, here
    reached = select(there.label("id"), closure.depth, closure.lineage_path).where(
        here == address_id, closure.depth.between(1, max_depth or ALL)
    )
    total = await session.scalar(select(func.count()).select_from(reached.subquery())) or 0
    ordered = reached.order_by(closure.depth, there).limit(page.limit).offset(page.offset)
    rows = (await session.execute(ordered)).all()
    described = await session.execute(text(_DESCRIBED), {"ids": [row.id for row in rows]})
    by_id = {row.id: row._asdict() for row in described}
    addresses = [ReachedAddress(**by_id[row.id], depth=row.depth, lineage_path=row.lineage_path) for row in rows]
    return Reach(address_id=address_id, total=total, addresses=addresses)


async def read_path(session: AsyncSession, one: int, other: int) -> list[int]:
    """A shortest path that data takes between two addresses, in whichever direction there is one; empty for none.

    As the closure has it, which follows a change of lineage within seconds.
    """
    for ends in ((one, other), (other, one)):
        row = await session.get(AddressLineageClosure, ends)
        if row is not None:
            return row.lineage_path
    return []
