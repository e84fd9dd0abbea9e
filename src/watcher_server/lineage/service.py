"""Loading the edges of a pipeline."""

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.addresses.sync import sync_addresses
from watcher_server.kit.errors import InvalidFieldError, NotFoundError
from watcher_server.lineage.schemas import AddressLineagePost
from watcher_server.pipelines.models import Pipeline
from watcher_server.queueing.outbox import enqueue_async

REBUILD_TASK = "address_lineage_closure_rebuild_task"

# A refresh is the doing of no pipeline.
NO_PIPELINE = 0

# Far beyond any real pipeline, and still loaded well within the time that a statement has.
MAX_EDGES_PER_PIPELINE = 100_000


async def load_lineage(session: AsyncSession, body: AddressLineagePost) -> int | None:
    """Replace the edges of a pipeline with sources x targets; how many it has now, or None when not asked for.

    A pipeline whose ``load_lineage`` is false is left alone. Two loads of one pipeline take turns. The closure is
    rebuilt by a task, around the ends of the old edges and of the new, and also when nothing changed here: what an
    earlier rebuild around them did not come to is done then.

    Raises:
        NotFoundError: no such pipeline.
        InvalidFieldError: more edges than a pipeline can have.
    """
    if not await _lock_pipeline(session, body.pipeline_id):
        return None
    source_names = {address.name for address in body.source_addresses}
    target_names = {address.name for address in body.target_addresses}
    _check_size(len(source_names) * len(target_names))
    addresses = await sync_addresses(session, [*body.source_addresses, *body.target_addresses])
    sources = sorted(addresses[name].id for name in source_names)
    targets = sorted(addresses[name].id for name in target_names)
    former = await _replace_edges(session, body.pipeline_id, sources, targets)
    connected = sorted({*sources, *targets, *former})
    await enqueue_async(session, REBUILD_TASK, connected_addresses=connected, pipeline_id=body.pipeline_id)
    return len(sources) * len(targets)


def _check_size(edges: int) -> None:
    if edges > MAX_EDGES_PER_PIPELINE:
        raise InvalidFieldError(
            "source_addresses",
            f"sources times targets make {edges} edges; load at most {MAX_EDGES_PER_PIPELINE} per pipeline",
        )


async def _lock_pipeline(session: AsyncSession, pipeline_id: int) -> bool:
    """Hold the pipeline until the transaction ends; whether its lineage is to be loaded.

    The lock lets runs of the pipeline start meanwhile: they only refer to its key.
    """
    statement = select(Pipeline.load_lineage).where(Pipeline.id == pipeline_id).with_for_update(key_share=True)
    wanted = await session.scalar(statement)
    if wanted is None:
        raise NotFoundError(f"No pipeline has the id {pipeline_id}.")
    return bool(wanted)


# Both by the unique index on (pipeline_id, source_address_id, target_address_id). Edges that stay are not touched.
_REMOVE_EDGES = """
WITH removed AS (
    DELETE FROM address_lineage
    WHERE pipeline_id = :pipeline_id AND (
        source_address_id NOT IN (SELECT unnest(CAST(:sources AS bigint[])))
        OR target_address_id NOT IN (SELECT unnest(CAST(:targets AS bigint[])))
    )
    RETURNING source_address_id, target_address_id
)
SELECT source_address_id FROM removed UNION SELECT target_address_id FROM removed
"""

_ADD_EDGES = """
INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id)
SELECT :pipeline_id, source.id, target.id
FROM unnest(CAST(:sources AS bigint[])) AS source (id)
CROSS JOIN unnest(CAST(:targets AS bigint[])) AS target (id)
WHERE NOT EXISTS (
    SELECT FROM address_lineage
    WHERE pipeline_id = :pipeline_id AND source_address_id = source.id AND target_address_id = target.id
)
ON CONFLICT DO NOTHING
"""


async def _replace_edges(session: AsyncSession, pipeline_id: int, sources: list[int], targets: list[int]) -> set[int]:
    """Write what differs; the ends of the edges that are gone."""
    parameters = {"pipeline_id": pipeline_id, "sources": sources, "targets": targets}
    former = await session.scalars(text(_REMOVE_EDGES), parameters)
    await session.execute(text(_ADD_EDGES), parameters)
    return set(former)


async def refresh_closure(session: AsyncSession) -> int:
    """Have the closure of everything rebuilt, by a task; of how many addresses."""
    everything = (await session.scalars(select(Address.id).order_by(Address.id))).all()
    await enqueue_async(session, REBUILD_TASK, connected_addresses=list(everything), pipeline_id=NO_PIPELINE)
    return len(everything)
