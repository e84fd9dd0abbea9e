"""Loading the edges of a pipeline, and refreshing the closure."""

from collections.abc import Sized

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.addresses.sync import sync_addresses
from watcher_server.kit.errors import InvalidFieldError, NotFoundError
from watcher_server.lineage.schemas import AddressLineagePost
from watcher_server.pipelines.models import Pipeline
from watcher_server.pipelines.service import revive_pipeline
from watcher_server.tasking.sending.outbox import enqueue_async

REBUILD_TASK = "address_lineage_closure_rebuild_task"

# The pipeline id of a refresh, which belongs to no pipeline.
NO_PIPELINE = 0
# No real pipeline comes near this, and it still loads well within the statement time-out.
MAX_EDGES_PER_PIPELINE = 100_000


async def load_lineage(session: AsyncSession, body: AddressLineagePost) -> int | None:
    """Replace the edges of a pipeline with sources x targets; how many it has now.

    None, and nothing changes, when the pipeline's ``load_lineage`` is false and the body does not ask to replace. Two
    loads of one pipeline take turns. A task rebuilds the closure around the ends of the old and the new edges. It does
    so even when no edge changed, to complete an earlier rebuild around them that failed.
    Raises NotFoundError if there is no such pipeline, InvalidFieldError for more edges than one can have.
    """
    # The lock lets runs of the pipeline start meanwhile: they only refer to its key.
    pipeline = (
        select(Pipeline.load_lineage, Pipeline.archived_at)
        .where(Pipeline.id == body.pipeline_id, Pipeline.forgotten_at.is_(None))
        .with_for_update(key_share=True)
    )
    stored = (await session.execute(pipeline)).one_or_none()
    if stored is None:
        raise NotFoundError(f"No pipeline has the id {body.pipeline_id}.")
    if stored.archived_at is not None:
        await revive_pipeline(session, body.pipeline_id)
    if not (stored.load_lineage or body.replace):
        return None
    # Before they are stored, and as they are stored: some differ by case only.
    _check_number(*({address.name for address in side} for side in (body.source_addresses, body.target_addresses)))
    addresses = await sync_addresses(session, [*body.source_addresses, *body.target_addresses])
    sources = sorted({address.id for address in addresses[: len(body.source_addresses)]})
    targets = sorted({address.id for address in addresses[len(body.source_addresses) :]})
    number = _check_number(sources, targets)
    former = await _replace_edges(session, body.pipeline_id, sources, targets)
    connected = sorted({*sources, *targets, *former})
    await enqueue_async(session, REBUILD_TASK, connected_addresses=connected, pipeline_id=body.pipeline_id)
    return number


def _check_number(sources: Sized, targets: Sized) -> int:
    number = len(sources) * len(targets)
    if number > MAX_EDGES_PER_PIPELINE:
        raise InvalidFieldError(
            "source_addresses",
            f"sources times targets make {number} edges; load at most {MAX_EDGES_PER_PIPELINE} per pipeline",
        )
    return number


# Both by the unique index on (pipeline_id, source_address_id, target_address_id). Edges that stay are not touched, nor
# those that were only seen in events. One that was seen and is declared now is a declared one from now on.
_REMOVE_EDGES = """
WITH removed AS (
    DELETE FROM address_lineage
    WHERE pipeline_id = :pipeline_id AND origin = 'declared' AND (
        source_address_id NOT IN (SELECT unnest(CAST(:sources AS bigint[])))
        OR target_address_id NOT IN (SELECT unnest(CAST(:targets AS bigint[])))
    )
    RETURNING source_address_id, target_address_id
)
SELECT source_address_id FROM removed UNION SELECT target_address_id FROM removed
"""

# What left with an address in the archive is replaced, too.
_FORGET_ARCHIVED = "DELETE FROM archived_address_lineage WHERE pipeline_id = :pipeline_id AND origin = 'declared'"

_ADD_EDGES = """
INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id)
SELECT :pipeline_id, source.id, target.id
FROM unnest(CAST(:sources AS bigint[])) AS source (id)
CROSS JOIN unnest(CAST(:targets AS bigint[])) AS target (id)
WHERE NOT EXISTS (
    SELECT FROM address_lineage
    WHERE pipeline_id = :pipeline_id AND source_address_id = source.id AND target_address_id = target.id
        AND origin = 'declared'
)
ON CONFLICT (pipeline_id, source_address_id, target_address_id)
    DO UPDATE SET origin = 'declared', last_seen_at = NULL WHERE address_lineage.origin <> 'declared'
"""


async def _replace_edges(session: AsyncSession, pipeline_id: int, sources: list[int], targets: list[int]) -> set[int]:
    """Write the differences; the ends of the edges that were removed."""
    parameters = {"pipeline_id": pipeline_id, "sources": sources, "targets": targets}
    await session.execute(text(_FORGET_ARCHIVED), parameters)
    former = await session.scalars(text(_REMOVE_EDGES), parameters)
    await session.execute(text(_ADD_EDGES), parameters)
    return set(former)


async def refresh_closure(session: AsyncSession) -> int:
    """Queue a rebuild of the whole closure; the number of addresses."""
    everything = (await session.scalars(select(Address.id).order_by(Address.id))).all()
    await enqueue_async(session, REBUILD_TASK, connected_addresses=list(everything), pipeline_id=NO_PIPELINE)
    return len(everything)
