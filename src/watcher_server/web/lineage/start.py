"""Where to begin: searching an address, those in trouble, those where much begins or comes together."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.listing import contains
from watcher_server.lineage.status import read_address_statuses
from watcher_server.pipelines.board import BoardView
from watcher_server.pipelines.status import Status

MOST_FOUND = 20
_MOST_LISTED = 10
# The worst of them write more addresses than are listed.
_MOST_TROUBLED_PIPELINES = 200
# From so many edges on, looking through them takes longer than a page may.
_MANY_EDGES = 5_000
# Of more than that, so many stand for the rest.
_SAMPLED_EDGES = 25_000
_KEPT_SECONDS = 60.0
# Beyond that the number itself says nothing more.
MOST_COUNTED = 1_000

_TROUBLE = (Status.FAILED, Status.MISSED, Status.OVERDUE, Status.STALE, Status.ANOMALOUS)


@dataclass(frozen=True, slots=True)
class FoundAddress:
    """An address by its name."""

    id: int
    name: str
    type_name: str
    group_name: str


# The names begin with the first word before those that hold it anywhere; short ones first. LIKE within a name has no
# index: one pass over the index of names, which holds nothing else.
_SEARCH = """
SELECT found.id, found.name, address_type.name AS type_name, address_type.group_name
FROM (
    SELECT id FROM address WHERE name LIKE ALL (CAST(:patterns AS text[]))
    ORDER BY NOT starts_with(name, :first), length(name), name LIMIT :limit
) AS nearest
JOIN address AS found USING (id)
JOIN address_type ON address_type.id = found.address_type_id
ORDER BY NOT starts_with(found.name, :first), length(found.name), found.name
"""


async def search_addresses(session: AsyncSession, wanted: str) -> tuple[list[FoundAddress], bool]:
    """The best twenty of the addresses whose names hold all the words, and whether there are more."""
    words = wanted.lower().split()
    if not words:
        return [], False
    parameters = {"patterns": [contains(word) for word in words], "first": words[0], "limit": MOST_FOUND + 1}
    found = [FoundAddress(*row) for row in await session.execute(text(_SEARCH), parameters)]
    return found[:MOST_FOUND], len(found) > MOST_FOUND


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address to begin with: how it does, who writes it, and how many it feeds straight, or in all."""

    id: int
    name: str
    type_name: str
    status: Status
    pipelines: tuple[str, ...] = ()
    sources: int = 0
    targets: int = 0
    downstream: int = 0


# A part of what each writes, by the unique index on (pipeline_id, source_address_id, target_address_id), and what
# lies below, by the primary key of the closure.
_TROUBLED = """
SELECT address.id, address.name, address_type.name AS type_name, written.pipelines, below.number AS downstream
FROM (
    SELECT target.id, min(rank) AS rank, array_agg(DISTINCT troubled.name) AS pipelines
    FROM unnest(CAST(:pipeline_ids AS bigint[]), CAST(:names AS text[]), CAST(:ranks AS bigint[]))
        AS troubled (id, name, rank)
    CROSS JOIN LATERAL (
        SELECT DISTINCT target_address_id AS id FROM address_lineage WHERE pipeline_id = troubled.id
        ORDER BY id LIMIT :each
    ) AS target
    GROUP BY target.id ORDER BY rank, target.id LIMIT :most
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


async def read_troubled(session: AsyncSession, board: BoardView) -> list[Candidate]:
    """Addresses that the pipelines in the worst trouble write; of those as bad, what most depends on."""
    rank = {status.value: place for place, status in enumerate(_TROUBLE)}
    troubled = sorted(
        (row for row in board.rows if row.active and row.status in rank), key=lambda row: rank[row.status]
    )
    worst = troubled[:_MOST_TROUBLED_PIPELINES]
    parameters = {
        "pipeline_ids": [row.id for row in worst],
        "names": [row.name for row in worst],
        "ranks": [rank[row.status] for row in worst],
        "each": 2,
        "most": 5 * _MOST_LISTED,
        "limit": _MOST_LISTED,
        "most_counted": MOST_COUNTED,
    }
    return await _candidates(session, (await session.execute(text(_TROUBLED), parameters)).all())


# How many edges there are, as of the last ANALYZE; a table that was never analysed is small.
_EDGES = "SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = CAST('address_lineage' AS regclass)"

# One pass over some blocks of the table: those with the most edges, and those with the most that nobody writes.
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
SELECT address.id, address.name, address_type.name AS type_name, sources.number AS sources, targets.number AS targets
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
    """Where to begin in a graph: looked for anew each time while it is small, and once a minute when it is not."""

    def __init__(self) -> None:
        self._ids: tuple[list[int], list[int]] = ([], [])
        self._found_at = float("-inf")

    async def read(self, session: AsyncSession) -> tuple[list[Candidate], list[Candidate]]:
        """The addresses with the most neighbours, and those that nobody writes, by how many they feed.

        Of very many edges, as a part of them shows.
        """
        edges = float((await session.execute(text(_EDGES))).scalar_one())
        if edges < _MANY_EDGES or time.monotonic() - self._found_at > _KEPT_SECONDS:
            self._ids = await _find_landmarks(session, share=min(100, 100 * _SAMPLED_EDGES / max(edges, 1)))
            self._found_at = time.monotonic()
        hubs, roots = self._ids
        rows = (await session.execute(text(_DESCRIBED), {"ids": list({*hubs, *roots})})).all()
        candidates = await _candidates(session, rows)
        return (
            [candidate for candidate in candidates if candidate.id in hubs],
            [candidate for candidate in candidates if candidate.id in roots and not candidate.sources],
        )


async def _find_landmarks(session: AsyncSession, share: float) -> tuple[list[int], list[int]]:
    rows = (await session.execute(text(_LANDMARKS), {"share": share, "limit": _MOST_LISTED})).all()
    return [row.id for row in rows if not row.is_root], [row.id for row in rows if row.is_root]


async def _candidates(session: AsyncSession, rows: Sequence[Any]) -> list[Candidate]:
    statuses = await read_address_statuses(session, [row.id for row in rows])
    return [Candidate(**row._asdict(), status=statuses[row.id]) for row in rows]
