"""What the page tells of one address beside the drawing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address, AddressType
from watcher_server.kit.configuration import find
from watcher_server.lineage.status import read_address_statuses
from watcher_server.pipelines.status import Status, read_pipeline_statuses

# Of more pipelines on one side, the page names so many, the worst of those looked at.
MOST_PIPELINES = 20
MOST_LOOKED_AT = 200
_WORST_FIRST = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, slots=True)
class Using:
    """A pipeline that writes or reads the address; a paused one has no status."""

    id: int
    name: str
    type_name: str
    active: bool
    status: Status


@dataclass(frozen=True, slots=True)
class Details:
    """An address; how many lie above and below it in all; who writes and who reads it, worst first."""

    address: Address
    type_name: str
    group_name: str
    status: Status
    upstream: int
    downstream: int
    writers: tuple[Using, ...]
    readers: tuple[Using, ...]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is known of it besides, by name; what is no text as JSON."""
        address = self.address
        own = [
            ("Database", address.database_name),
            ("Schema", address.schema_name),
            ("Table", address.table_name),
            ("Primary key", address.primary_key),
        ]
        known = (*own, *(address.address_metadata or {}).items())
        return [(name, _written(value)) for name, value in known if value is not None]


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def read_details(session: AsyncSession, address_id: int) -> Details:
    """What is known of the address.

    Raises:
        NotFoundError: no such address.
    """
    address = await find(session, Address, address_id)
    address_type = await find(session, AddressType, address.address_type_id)
    counts = (await session.execute(text(_COUNTS), {"address_id": address_id})).one()
    parameters = {"address_id": address_id, "limit": MOST_LOOKED_AT}
    writers = (await session.execute(text(_WRITERS), parameters)).all()
    readers = (await session.execute(text(_READERS), parameters)).all()
    statuses = await read_pipeline_statuses(session, {row.id for row in (*writers, *readers)})
    return Details(
        address=address,
        type_name=address_type.name,
        group_name=address_type.group_name,
        status=(await read_address_statuses(session, [address_id]))[address_id],
        upstream=counts.upstream,
        downstream=counts.downstream,
        writers=_using(writers, statuses),
        readers=_using(readers, statuses),
    )


# By the primary key of the closure, and by ix_address_lineage_closure_target_address_id.
_COUNTS = """
SELECT
    (SELECT count(*) FROM address_lineage_closure WHERE target_address_id = :address_id AND depth > 0) AS upstream,
    (SELECT count(*) FROM address_lineage_closure WHERE source_address_id = :address_id AND depth > 0) AS downstream
"""

# By ix_address_lineage_upstream.
_WRITERS = """
SELECT pipeline.id, pipeline.name, pipeline_type.name AS type_name, pipeline.active
FROM (SELECT DISTINCT pipeline_id AS id FROM address_lineage WHERE target_address_id = :address_id) AS writing
JOIN pipeline USING (id)
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
ORDER BY pipeline.name LIMIT :limit
"""

# By ix_address_lineage_downstream.
_READERS = """
SELECT pipeline.id, pipeline.name, pipeline_type.name AS type_name, pipeline.active
FROM (SELECT DISTINCT pipeline_id AS id FROM address_lineage WHERE source_address_id = :address_id) AS reading
JOIN pipeline USING (id)
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
ORDER BY pipeline.name LIMIT :limit
"""


def _using(rows: Sequence[Row[Any]], statuses: Mapping[int, Status]) -> tuple[Using, ...]:
    using = [Using(**row._asdict(), status=statuses.get(row.id, Status.UNKNOWN)) for row in rows]
    return tuple(sorted(using, key=lambda each: (not each.active, _WORST_FIRST[each.status], each.name)))
