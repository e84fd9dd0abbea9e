"""The addresses around one address, read hop by hop from the edges, for the API's graph and for the lineage page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.lineage.schemas import Direction


class Side(StrEnum):
    """The two sides of an address: what feeds it, and what it feeds."""

    UPSTREAM = "u"
    DOWNSTREAM = "d"


# An address and a side of it.
Opening = tuple[int, Side]
SIDES = {
    Direction.UPSTREAM: (Side.UPSTREAM,),
    Direction.DOWNSTREAM: (Side.DOWNSTREAM,),
    Direction.BOTH: (Side.UPSTREAM, Side.DOWNSTREAM),
}
# A tuple, because going through the members of an enumeration is slow, and it is done for each address.
_BOTH_SIDES = SIDES[Direction.BOTH]
_SIDE_OF = {side.value: side for side in Side}
ALL = 2**31 - 1
# With this many hops left, neighbours of neighbours are read too: a chain of 5,000 would take a statement for each hop.
_FAR = 20

# The first neighbours by id on each opened side, by ix_address_lineage_downstream and ix_address_lineage_upstream.
# Downstream comes first: an address that a cycle makes equally far both ways counts as downstream.
_NEIGHBOURS = text("""
WITH opened AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:ids AS bigint[]), CAST(:sides AS text[]), CAST(:numbers AS bigint[]), CAST(:hops AS bigint[])
    ) AS opened (id, side, number, hops)
)
SELECT there.id, 'd' AS side, max(opened.hops) AS hops
FROM opened
CROSS JOIN LATERAL (
    SELECT DISTINCT target_address_id AS id FROM address_lineage
    WHERE source_address_id = opened.id AND target_address_id <> opened.id
    ORDER BY id LIMIT opened.number
) AS there
WHERE opened.side = 'd' GROUP BY there.id
UNION ALL
SELECT there.id, 'u', max(opened.hops)
FROM opened
CROSS JOIN LATERAL (
    SELECT DISTINCT source_address_id AS id FROM address_lineage
    WHERE target_address_id = opened.id AND source_address_id <> opened.id
    ORDER BY id LIMIT opened.number
) AS there
WHERE opened.side = 'u' GROUP BY there.id
ORDER BY id, side
""")

# The same, for the openings and for what lies beyond them, the nearest first: all neighbours of each, as an array. A
# recursive query makes its rows as they are asked for, so it goes no further than the limit.
_NEIGHBOURS_AHEAD = """
WITH RECURSIVE reached (id, side) AS (
    SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:sides AS text[]))
    UNION
    SELECT there.id, reached.side FROM reached CROSS JOIN LATERAL (
        SELECT target_address_id AS id FROM address_lineage
        WHERE reached.side = 'd' AND source_address_id = reached.id
        UNION ALL
        SELECT source_address_id FROM address_lineage
        WHERE reached.side = 'u' AND target_address_id = reached.id
    ) AS there
), nearest AS MATERIALIZED (
    SELECT id, side FROM reached LIMIT :most
)
SELECT nearest.id, nearest.side, CASE nearest.side
    WHEN 'd' THEN ARRAY(
        SELECT target_address_id FROM address_lineage
        WHERE source_address_id = nearest.id AND target_address_id <> nearest.id
    )
    ELSE ARRAY(
        SELECT source_address_id FROM address_lineage
        WHERE target_address_id = nearest.id AND source_address_id <> nearest.id
    ) END
FROM nearest
"""


@dataclass
class Surroundings:
    """What was found; an address is shown once, and its sides are opened while hops are left.

    ``distance`` says how many hops away each address was found, below zero upstream, the nearest first. ``hops_left``
    says of each side of these how many hops lie beyond it. ``expanded`` are numbers of neighbours to show at a side,
    whatever hops are left there; at any other side with hops left these are ``neighbours``. ``truncated`` says that
    the limit left out an address. ``ahead`` are neighbours that were read before their turn.
    """

    limit: int
    neighbours: int
    expanded: Mapping[Opening, int]
    distance: dict[int, int] = field(default_factory=dict)
    hops_left: dict[Opening, int] = field(default_factory=dict)
    truncated: bool = False
    ahead: dict[Opening, list[int]] = field(default_factory=dict)

    def is_open(self, opening: Opening) -> bool:
        """Whether the neighbours on that side of the address are shown."""
        return self._number(opening) > 0

    def _number(self, opening: Opening) -> int:
        return self.expanded.get(opening, self.neighbours if self.hops_left.get(opening) else 0)

    def add(self, address_id: int, sides: Iterable[Side], hops: int, distance: int) -> list[Opening]:
        """Show the address, with ``hops`` hops beyond these sides; the sides to open now.

        A side is opened again when more hops are left than when it was opened before.
        """
        if address_id not in self.distance and len(self.distance) >= self.limit:
            self.truncated = True
            return []
        self.distance.setdefault(address_id, distance)
        changed = []
        for side in _BOTH_SIDES:
            opening = address_id, side
            left = hops if side in sides else 0
            if left > self.hops_left.get(opening, -1):
                self.hops_left[opening] = left
                changed.append(opening)
        return [opening for opening in changed if self.is_open(opening)]

    async def open(self, session: AsyncSession, openings: list[Opening], distance: int) -> list[Opening]:
        """Show the neighbours on these sides, ``distance`` hops away; the sides of these to open next."""
        next_openings = []
        for (address_id, side), hops in await self._find_neighbours(session, openings):
            signed = distance if side is Side.DOWNSTREAM else -distance
            next_openings += self.add(address_id, (side,), max(hops - 1, 0), signed)
        return next_openings

    async def _find_neighbours(self, session: AsyncSession, openings: list[Opening]) -> list[tuple[Opening, int]]:
        """The neighbours on these sides by id, each with the hops that were left before it."""
        if self.neighbours < ALL or self.expanded or any(self.hops_left[opening] < _FAR for opening in openings):
            return await self._read_neighbours(session, openings)
        unread = [opening for opening in openings if opening not in self.ahead]
        if unread:
            await self._read_ahead(session, unread)
        found: dict[Opening, int] = {}
        for opening in openings:
            for address_id in self.ahead[opening]:
                neighbour = address_id, opening[1]
                found[neighbour] = max(found.get(neighbour, 0), self.hops_left[opening])
        return sorted(found.items())

    async def _read_neighbours(self, session: AsyncSession, openings: list[Opening]) -> list[tuple[Opening, int]]:
        parameters = _columns(openings) | {
            "numbers": [self._number(opening) for opening in openings],
            "hops": [self.hops_left[opening] for opening in openings],
        }
        rows = (await session.execute(_NEIGHBOURS, parameters)).all()
        return [((address_id, _SIDE_OF[letter]), hops) for address_id, letter, hops in rows]

    async def _read_ahead(self, session: AsyncSession, openings: list[Opening]) -> None:
        # An address may be upstream and downstream of the start.
        parameters = _columns(openings) | {"most": len(openings) + 2 * self.limit}
        for address_id, letter, neighbours in await session.execute(text(_NEIGHBOURS_AHEAD), parameters):
            self.ahead[address_id, _SIDE_OF[letter]] = neighbours


def _columns(openings: list[Opening]) -> dict[str, list[Any]]:
    return {"ids": [address_id for address_id, _ in openings], "sides": [str(side) for _, side in openings]}


async def find_surroundings(
    session: AsyncSession,
    address_id: int,
    direction: Direction,
    hops: int,
    *,
    limit: int,
    neighbours: int = ALL,
    expanded: Mapping[Opening, int] | None = None,
    path: Iterable[int] = (),
) -> Surroundings:
    """The addresses within ``hops`` hops, what is expanded beyond them, and those of a path; see `Surroundings`.

    Of more than ``limit`` addresses, the nearest; of those equally near, the first by id.
    """
    found = Surroundings(limit, neighbours, expanded or {})
    openings = found.add(address_id, SIDES[direction], hops, 0)
    for on_path in path:
        openings += found.add(on_path, (), 0, 0)
    distance = 0
    while openings and not found.truncated:
        distance += 1
        openings = await found.open(session, openings, distance)
    return found
