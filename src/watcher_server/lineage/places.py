"""What a pipeline reads and writes, as its page shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.lineage.impact import count_downstream
from watcher_server.lineage.status import read_address_statuses
from watcher_server.pipelines.status import Status

MOST_PLACES = 100
MOST_TOUCHED = 500


class Place(NamedTuple):
    """An address that a pipeline reads or writes; ``downstream`` is how many others depend on one that it writes."""

    id: int
    name: str
    type_name: str
    downstream: int | None
    total: int


# The edges by their unique key, addresses by theirs, what lies beyond by the two ways into the closure.
_SOURCES = """
SELECT address.id, coalesce(address.display_name, address.name), type.name, NULL::bigint, count(*) OVER ()
FROM (SELECT DISTINCT source_address_id AS id FROM address_lineage WHERE pipeline_id = :pipeline_id) AS place
JOIN address USING (id) JOIN address_type AS type ON type.id = address.address_type_id
ORDER BY address.name LIMIT :most
"""
_TARGETS = """
SELECT found.id, found.name, found.type_name, (
    SELECT count(*) FROM address_lineage_closure WHERE source_address_id = found.id AND depth > 0
), found.total
FROM (
    SELECT address.id, coalesce(address.display_name, address.name) AS name, type.name AS type_name,
        count(*) OVER () AS total
    FROM (SELECT DISTINCT target_address_id AS id FROM address_lineage WHERE pipeline_id = :pipeline_id) AS place
    JOIN address USING (id) JOIN address_type AS type ON type.id = address.address_type_id
    ORDER BY address.name LIMIT :most
) AS found
ORDER BY found.name
"""


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses on one side, by name, at most :data:`MOST_PLACES` of ``total``, and the status of each."""

    rows: Sequence[Place]
    statuses: dict[int, Status]

    @property
    def total(self) -> int:
        return self.rows[0].total if self.rows else 0


async def read_places(session: AsyncSession, pipeline_id: int) -> tuple[Places, Places]:
    """The sources and the targets of the pipeline."""
    parameters = {"pipeline_id": pipeline_id, "most": MOST_PLACES}
    sources = [Place._make(row) for row in await session.execute(text(_SOURCES), parameters)]
    targets = [Place._make(row) for row in await session.execute(text(_TARGETS), parameters)]
    statuses = await read_address_statuses(session, sorted({row.id for row in (*sources, *targets)}))
    return Places(sources, statuses), Places(targets, statuses)


class Touched(NamedTuple):
    """An address downstream of what a pipeline writes, ``hops`` from it; there are ``total``."""

    id: int
    name: str
    type_name: str
    hops: int
    total: int


# What it writes by the unique index of the edges, what that reaches by the primary key of the closure.
_TOUCHED = """
WITH written AS MATERIALIZED (
    SELECT DISTINCT target_address_id AS id FROM address_lineage WHERE pipeline_id = :pipeline_id
), reached AS MATERIALIZED (
    SELECT closure.target_address_id AS id, min(closure.depth) AS hops
    FROM written JOIN address_lineage_closure AS closure ON closure.source_address_id = written.id
    WHERE closure.target_address_id NOT IN (SELECT id FROM written)
    GROUP BY closure.target_address_id
)
SELECT address.id, coalesce(address.display_name, address.name), type.name, hops, (SELECT count(*) FROM reached)
FROM reached JOIN address USING (id) JOIN address_type AS type ON type.id = address.address_type_id
ORDER BY hops, address.name LIMIT :most
"""


async def read_touched(session: AsyncSession, pipeline_id: int) -> tuple[Sequence[Touched], dict[int, Status]]:
    """What depends on what the pipeline writes, nearest first, at most :data:`MOST_TOUCHED`; and how each does."""
    parameters = {"pipeline_id": pipeline_id, "most": MOST_TOUCHED}
    rows = [Touched._make(row) for row in await session.execute(text(_TOUCHED), parameters)]
    return rows, await read_address_statuses(session, [row.id for row in rows])


class Reach(NamedTuple):
    """How many addresses a pipeline writes, the first of them, and how many others depend on them."""

    targets: int
    first_target_id: int | None
    downstream: int


# By the unique index of address_lineage.
_WRITTEN = """
SELECT count(DISTINCT target_address_id), min(target_address_id)
FROM address_lineage WHERE pipeline_id = :pipeline_id
"""


async def read_reach(session: AsyncSession, pipeline_id: int) -> Reach:
    """What the pipeline touches."""
    targets, first_target_id = (await session.execute(text(_WRITTEN), {"pipeline_id": pipeline_id})).one()
    downstream = await (await session.connection()).run_sync(count_downstream, [pipeline_id])
    return Reach(targets, first_target_id, downstream.get(pipeline_id, 0))
