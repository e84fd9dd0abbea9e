"""The status of an address: the worst of the active pipelines that write it."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.pipelines.status import PIPELINES, Status

_WORST_FIRST = tuple(Status)

# The place of the worst among these. Writers by ix_address_lineage_upstream.
_STATUSES = text(f"""
WITH written AS MATERIALIZED (
    SELECT DISTINCT target_address_id AS id, pipeline_id
    FROM unnest(CAST(:address_ids AS bigint[])) AS wanted (id)
    JOIN address_lineage ON target_address_id = wanted.id
), writer AS MATERIALIZED (
    SELECT pipeline.id, array_position(CAST('{{{",".join(_WORST_FIRST)}}}' AS text[]), status) AS place
    FROM {PIPELINES}
    WHERE pipeline.active AND pipeline.id = ANY(ARRAY(SELECT DISTINCT pipeline_id FROM written))
)
SELECT written.id, min(writer.place) FROM written JOIN writer ON writer.id = written.pipeline_id GROUP BY written.id
""")  # noqa: S608 - of constants


async def read_address_statuses(session: AsyncSession, address_ids: Sequence[int]) -> dict[int, Status]:
    """The status of each of these addresses; unknown where no active pipeline writes it."""
    rows = (await session.execute(_STATUSES, {"address_ids": list(address_ids), "due": []})).all()
    return dict.fromkeys(address_ids, Status.UNKNOWN) | {id_: _WORST_FIRST[place - 1] for id_, place in rows}
