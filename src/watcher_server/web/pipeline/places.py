"""What a pipeline reads and writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.lineage.status import read_address_statuses
from watcher_server.pipelines.status import Status

MOST_PLACES = 100

# The edges by their unique key, addresses by theirs, what lies beyond by the two ways into the closure.
_SOURCES = """
SELECT address.id, address.name, type.name AS type_name, place.edges, NULL::bigint AS downstream,
    count(*) OVER () AS total
FROM (
    SELECT source_address_id AS id, count(*) AS edges
    FROM address_lineage WHERE pipeline_id = :pipeline_id GROUP BY source_address_id
) AS place
JOIN address USING (id) JOIN address_type AS type ON type.id = address.address_type_id
ORDER BY address.name LIMIT :most
"""
_TARGETS = """
SELECT found.*, (
    SELECT count(*) FROM address_lineage_closure WHERE source_address_id = found.id AND depth > 0
) AS downstream
FROM (
    SELECT address.id, address.name, type.name AS type_name, place.edges, count(*) OVER () AS total
    FROM (
        SELECT target_address_id AS id, count(*) AS edges
        FROM address_lineage WHERE pipeline_id = :pipeline_id GROUP BY target_address_id
    ) AS place
    JOIN address USING (id) JOIN address_type AS type ON type.id = address.address_type_id
    ORDER BY address.name LIMIT :most
) AS found
ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses on one side, by name, at most :data:`MOST_PLACES` of ``total``, and the status of each."""

    rows: Sequence[Row[Any]]
    statuses: dict[int, Status]

    @property
    def total(self) -> int:
        """How many there are."""
        return self.rows[0].total if self.rows else 0


async def read_places(session: AsyncSession, pipeline_id: int) -> tuple[Places, Places]:
    """The sources and the targets of the pipeline."""
    parameters = {"pipeline_id": pipeline_id, "most": MOST_PLACES}
    sources = (await session.execute(text(_SOURCES), parameters)).all()
    targets = (await session.execute(text(_TARGETS), parameters)).all()
    statuses = await read_address_statuses(session, sorted({row.id for row in (*sources, *targets)}))
    return Places(sources, statuses), Places(targets, statuses)
