"""Which addresses the page shows: those around the centre, what is expanded beyond them, and a path."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.web.lineage.state import BOTH_SIDES, SIDES, STEP, Opening, Side, ViewState

# More than that nobody can read, and a browser lays out in well under a second.
MOST_NODES = 500

# The first by id on each side of each address, by ix_address_lineage_downstream and ix_address_lineage_upstream.
_NEIGHBOURS = """
SELECT 'd' AS side, here.id AS here, there.id AS there
FROM unnest(CAST(:downstream AS bigint[]), CAST(:downstream_numbers AS bigint[])) AS here (id, number)
CROSS JOIN LATERAL (
    SELECT DISTINCT target_address_id AS id FROM address_lineage
    WHERE source_address_id = here.id AND target_address_id <> here.id
    ORDER BY id LIMIT here.number
) AS there
UNION ALL
SELECT 'u', here.id, there.id
FROM unnest(CAST(:upstream AS bigint[]), CAST(:upstream_numbers AS bigint[])) AS here (id, number)
CROSS JOIN LATERAL (
    SELECT DISTINCT source_address_id AS id FROM address_lineage
    WHERE target_address_id = here.id AND source_address_id <> here.id
    ORDER BY id LIMIT here.number
) AS there
"""


@dataclass
class Walk:
    """What was found so far.

    ``hops`` says of each side that was opened how many hops the depth of the view still allows beyond it; ``shown``
    keeps the order in which addresses were found, so that a limit leaves out the farthest.
    """

    state: ViewState
    limit: int
    shown: dict[int, None] = field(default_factory=dict)
    hops: dict[Opening, int] = field(default_factory=dict)
    neighbours: dict[Opening, list[int]] = field(default_factory=dict)
    truncated: bool = False

    def number(self, opening: Opening) -> int:
        """How many neighbours to show there."""
        return self.state.expanded.get(opening, STEP if self.hops[opening] > 0 else 0)

    def visit(self, address_id: int, along: Iterable[Side], hops: int) -> list[Opening]:
        """Show the address; the sides of it to look at (again) now."""
        if address_id not in self.shown and len(self.shown) >= self.limit:
            self.truncated = True
            return []
        self.shown[address_id] = None
        to_open = []
        for side in BOTH_SIDES:
            left = hops if side in along else 0
            if self.hops.get((address_id, side), -1) < left:
                self.hops[address_id, side] = left
                to_open.append((address_id, side))
        return [opening for opening in to_open if self.number(opening)]


async def find_shown(session: AsyncSession, state: ViewState, path: Iterable[int], limit: int = MOST_NODES) -> Walk:
    """The addresses of the view, the path among them; nearest first."""
    walk = Walk(state, limit)
    pending = walk.visit(state.centre, SIDES[state.direction], state.depth)
    for address_id in path:
        pending += walk.visit(address_id, (), 0)
    while pending:
        await _read_neighbours(session, walk, pending)
        pending = [
            found
            for here, side in pending
            for there in walk.neighbours[here, side]
            for found in walk.visit(there, (side,), max(walk.hops[here, side] - 1, 0))
        ]
    return walk


async def _read_neighbours(session: AsyncSession, walk: Walk, openings: Iterable[Opening]) -> None:
    unread = {opening: walk.number(opening) for opening in openings if opening not in walk.neighbours}
    if not unread:
        return
    walk.neighbours.update({opening: [] for opening in unread})
    sides = {side: {here: number for (here, of), number in unread.items() if of is side} for side in BOTH_SIDES}
    parameters = {
        "downstream": list(sides[Side.DOWNSTREAM].keys()),
        "downstream_numbers": list(sides[Side.DOWNSTREAM].values()),
        "upstream": list(sides[Side.UPSTREAM].keys()),
        "upstream_numbers": list(sides[Side.UPSTREAM].values()),
    }
    for side, here, there in await session.execute(text(_NEIGHBOURS), parameters):
        walk.neighbours[here, Side(side)].append(there)
