"""Where to begin in the lineage: addresses in trouble, the most connected ones, and those where data comes in."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.lineage.status import read_address_statuses
from watcher_server.pipelines.board import read_board
from watcher_server.pipelines.status import WRONG, Status

_MOST_LISTED = 10
# The worst of these pipelines write more addresses than are listed.
_MOST_TROUBLED_PIPELINES = 200
# A table with more edges than this is searched once a minute, for it takes longer than a page may.
_MANY_EDGES = 5_000
_KEPT_SECONDS = 60.0
# Of more edges than this, a sample of about this size is searched.
_SAMPLED_EDGES = 25_000
# Downstream addresses are counted up to this number.
MOST_COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address to begin with: its status, the pipelines that write it, and its neighbours or all it feeds."""

    id: int
    name: str
    type_name: str
    status: Status
    pipelines: tuple[str, ...] = ()
    sources: int = 0
    targets: int = 0
    downstream: int = 0


# The first two addresses that each pipeline writes, by the unique index on (pipeline_id, source_address_id,
# target_address_id), and the addresses below these, by the primary key of the closure.
_TROUBLED = """
SELECT address.id, coalesce(address.display_name, address.name) AS name,
    address_type.name AS type_name, written.pipelines, below.number AS downstream
FROM (
    SELECT target.id, min(rank) AS rank, array_agg(DISTINCT troubled.name) AS pipelines
    FROM unnest(CAST(:pipeline_ids AS bigint[]), CAST(:names AS text[]), CAST(:ranks AS bigint[]))
        AS troubled (id, name, rank)
    CROSS JOIN LATERAL (
        SELECT DISTINCT target_address_id AS id FROM address_lineage WHERE pipeline_id = troubled.id
        ORDER BY id LIMIT 2
    ) AS target
    GROUP BY target.id ORDER BY rank, target.id LIMIT 5 * :limit
) AS written
JOIN address USING (id)
JOIN address_type ON address_type.id = address.address_type_id
CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM (
        SELECT FROM address_lineage_closure WHERE source_address_id = address.id AND depth > 0 LIMIT :most_counted
    ) AS reached
) AS below
ORDER BY written.rank, below.number DESC, address.id LIMIT :limit
"""


async def read_troubled(session: AsyncSession) -> list[Candidate]:
    """Addresses that the pipelines in the worst trouble write; of equal trouble, those with most downstream first."""
    troubled = (await read_board(session, _MOST_TROUBLED_PIPELINES)).wrong
    parameters = {
        "pipeline_ids": [pipeline.id for pipeline in troubled],
        "names": [pipeline.name for pipeline in troubled],
        "ranks": [WRONG.index(pipeline.status) for pipeline in troubled],
        "limit": _MOST_LISTED,
        "most_counted": MOST_COUNTED,
    }
    return await _candidates(session, await session.execute(text(_TROUBLED), parameters))


# How many edges there are, as of the last ANALYZE; a table that was never analysed is small.
_EDGES = "SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = CAST('address_lineage' AS regclass)"

# One pass over some blocks of the table: the addresses with the most edges, and of those that no pipeline writes.
_LANDMARKS = """
WITH edge AS MATERIALIZED (
    SELECT source_address_id, target_address_id FROM address_lineage TABLESAMPLE SYSTEM (:share) REPEATABLE (1)
), degree AS MATERIALIZED (
    SELECT id, count(*) AS number, bool_or(is_written) AS is_written
    FROM (
        SELECT source_address_id AS id, false AS is_written FROM edge
        UNION ALL SELECT target_address_id, true FROM edge
    ) AS ends
    GROUP BY id
)
(SELECT id, false AS is_root FROM degree ORDER BY number DESC, id LIMIT :limit)
UNION ALL
(SELECT id, true FROM degree WHERE NOT is_written ORDER BY number DESC, id LIMIT :limit)
"""

# The neighbours by ix_address_lineage_upstream and ix_address_lineage_downstream.
_DESCRIBED = """
SELECT address.id, coalesce(address.display_name, address.name) AS name,
    address_type.name AS type_name, sources.number AS sources, targets.number AS targets
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
JOIN address USING (id)
JOIN address_type ON address_type.id = address.address_type_id
CROSS JOIN LATERAL (
    SELECT count(DISTINCT source_address_id) AS number FROM address_lineage WHERE target_address_id = address.id
) AS sources
CROSS JOIN LATERAL (
    SELECT count(DISTINCT target_address_id) AS number FROM address_lineage WHERE source_address_id = address.id
) AS targets
ORDER BY sources.number + targets.number DESC, address.id
"""


class Landmarks:
    """Where to begin in a graph: searched anew for each page while the graph is small, and once a minute otherwise."""

    def __init__(self) -> None:
        self._hubs: list[int] = []
        self._roots: list[int] = []
        self._found_at = float("-inf")

    async def read(self, session: AsyncSession) -> tuple[list[Candidate], list[Candidate]]:
        """The addresses with the most neighbours, and those that no pipeline writes, by how many they feed.

        A sample stands for a large number of edges.
        """
        edges = float((await session.execute(text(_EDGES))).scalar_one())
        if edges < _MANY_EDGES or time.monotonic() - self._found_at > _KEPT_SECONDS:
            parameters = {"share": min(100, 100 * _SAMPLED_EDGES / max(edges, 1)), "limit": _MOST_LISTED}
            rows = (await session.execute(text(_LANDMARKS), parameters)).all()
            self._hubs = [row.id for row in rows if not row.is_root]
            self._roots = [row.id for row in rows if row.is_root]
            self._found_at = time.monotonic()
        hubs, roots = self._hubs, self._roots
        candidates = await _candidates(session, await session.execute(text(_DESCRIBED), {"ids": [*{*hubs, *roots}]}))
        return (
            [candidate for candidate in candidates if candidate.id in hubs],
            [candidate for candidate in candidates if candidate.id in roots and not candidate.sources],
        )


async def _candidates(session: AsyncSession, rows: Iterable[Any]) -> list[Candidate]:
    described = [row._asdict() for row in rows]
    statuses = await read_address_statuses(session, [row["id"] for row in described])
    return [Candidate(**row, status=statuses[row["id"]]) for row in described]
