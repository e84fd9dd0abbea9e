"""The status of an address: the worst of the active pipelines that write it."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.pipelines.status import Status, read_pipeline_statuses, worst


async def read_address_statuses(session: AsyncSession, address_ids: Sequence[int]) -> dict[int, Status]:
    # By ix_address_lineage_upstream.
    statement = """
        SELECT DISTINCT target_address_id, pipeline_id
        FROM unnest(CAST(:address_ids AS bigint[])) AS wanted (id)
        JOIN address_lineage ON target_address_id = wanted.id
        JOIN pipeline ON pipeline.id = pipeline_id AND pipeline.active
    """
    writers = (await session.execute(text(statement), {"address_ids": list(address_ids)})).all()
    by_pipeline = await read_pipeline_statuses(session, {pipeline_id for _, pipeline_id in writers})
    by_address: dict[int, list[Status]] = {address_id: [] for address_id in address_ids}
    for address_id, pipeline_id in writers:
        # A pipeline that began to exist between the two statements is as one that has never run.
        by_address[address_id].append(by_pipeline.get(pipeline_id, Status.UNKNOWN))
    return {address_id: worst(statuses) for address_id, statuses in by_address.items()}
