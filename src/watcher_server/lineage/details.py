"""What is known of one address: its facts, how much lies around it, and the pipelines that write and read it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address, AddressType
from watcher_server.database.rows import find
from watcher_server.lineage.status import read_address_statuses
from watcher_server.pipelines.status import Status, read_pipeline_statuses

# At most this number of pipelines on each side is looked at, the first by name.
MOST_LOOKED_AT = 200
_WORST_FIRST = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, slots=True)
class Using:
    """A pipeline that writes or reads the address."""

    id: int
    name: str
    status: Status


@dataclass(frozen=True, slots=True)
class Details:
    """An address; how many addresses lie above and below it in all; its writers and readers, worst first."""

    address: Address
    type_name: str
    group_name: str
    status: Status
    upstream: int
    downstream: int
    writers: Sequence[Using]
    readers: Sequence[Using]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Its columns and its metadata by name; a value that is no text as JSON."""
        address = self.address
        own = [
            ("Database", address.database_name),
            ("Schema", address.schema_name),
            ("Table", address.table_name),
            ("Primary key", address.primary_key),
        ]
        known = (*own, *(address.address_metadata or {}).items())
        return [
            (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for name, value in known
            if value is not None
        ]


# By the primary key of the closure, and by ix_address_lineage_closure_target_address_id.
_COUNTS = text("""
SELECT
    (SELECT count(*) FROM address_lineage_closure WHERE target_address_id = :address_id AND depth > 0) AS upstream,
    (SELECT count(*) FROM address_lineage_closure WHERE source_address_id = :address_id AND depth > 0) AS downstream
""")

# By ix_address_lineage_upstream and ix_address_lineage_downstream.
_USING = text("""
SELECT writes, id, name
FROM (
    SELECT used.writes, pipeline.id, coalesce(pipeline.display_name, pipeline.name) AS name,
        row_number() OVER (PARTITION BY used.writes ORDER BY pipeline.name) AS place
    FROM (
        SELECT true AS writes, pipeline_id AS id FROM address_lineage WHERE target_address_id = :address_id
        UNION
        SELECT false, pipeline_id FROM address_lineage WHERE source_address_id = :address_id
    ) AS used
    JOIN pipeline USING (id)
) AS placed
WHERE place <= :limit
""")


async def read_details(session: AsyncSession, address_id: int, status: Status | None = None) -> Details:
    """What is known of the address, of which the status may be known already; raises NotFoundError if there is none."""
    address = await find(session, Address, address_id)
    address_type = await find(session, AddressType, address.address_type_id)
    counts = (await session.execute(_COUNTS, {"address_id": address_id})).one()
    rows = (await session.execute(_USING, {"address_id": address_id, "limit": MOST_LOOKED_AT})).all()
    statuses = await read_pipeline_statuses(session, {row.id for row in rows})
    using = [(row.writes, Using(row.id, row.name, statuses.get(row.id, Status.UNKNOWN))) for row in rows]
    using.sort(key=lambda each: (_WORST_FIRST[each[1].status], each[1].name))
    return Details(
        address=address,
        type_name=address_type.name,
        group_name=address_type.group_name,
        status=status or (await read_address_statuses(session, [address_id]))[address_id],
        upstream=counts.upstream,
        downstream=counts.downstream,
        writers=[each for writes, each in using if writes],
        readers=[each for writes, each in using if not writes],
    )
