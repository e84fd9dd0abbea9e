"""The tree of an execution, read and put in order."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Of a larger tree those that are nearest to its top are drawn.
MOST_EXECUTIONS = 5_000

# By ix_pipeline_execution_parent_id, one seek for each execution, level by level: by parent_id and not by the closure,
# so that a tree that grows is whole. PostgreSQL stops to go down once it has as many as the limit says.
_TREE = """
WITH RECURSIVE tree AS (
    SELECT id, parent_id, pipeline_id, start_date, end_date, completed_successfully, anomaly_flags
    FROM pipeline_execution WHERE id = :top
    UNION ALL
    SELECT child.id, child.parent_id, child.pipeline_id, child.start_date, child.end_date,
        child.completed_successfully, child.anomaly_flags
    FROM tree JOIN pipeline_execution AS child ON child.parent_id = tree.id
)
SELECT id, parent_id, pipeline_id, start_date, end_date, completed_successfully,
    jsonb_path_exists(anomaly_flags, '$.* ? (@ == true)') AS is_flagged
FROM tree LIMIT :most
"""

# By primary key.
_NAMES = """
SELECT pipeline.id, pipeline.name FROM unnest(CAST(:ids AS bigint[])) AS wanted (id) JOIN pipeline USING (id)
"""


@dataclass(frozen=True, slots=True)
class Node:
    """An execution in a tree; times are UTC."""

    id: int
    parent_id: int | None
    pipeline_id: int
    start_date: datetime
    end_date: datetime | None
    completed_successfully: bool | None
    is_flagged: bool


@dataclass(frozen=True)
class Tree:
    """Executions in the order of reading, each with its depth below the top; ``is_cut`` says that there are more."""

    order: Sequence[tuple[Node, int]]
    is_cut: bool

    def place_of(self, execution_id: int) -> int | None:
        """Where the execution stands in the order, from 0; None when it is not in this tree."""
        return next((place for place, (node, _) in enumerate(self.order) if node.id == execution_id), None)

    def above(self, execution_id: int) -> frozenset[int]:
        """The ids of what lies above the execution in this tree."""
        parents = {node.id: node.parent_id for node, _ in self.order}
        found = set()
        step = parents.get(execution_id)
        while step is not None and step in parents:
            found.add(step)
            step = parents[step]
        return frozenset(found)


async def read_tree(session: AsyncSession, top: int) -> Tree:
    """The execution and what lies below it, depth first, siblings by their start."""
    rows = (await session.execute(text(_TREE), {"top": top, "most": MOST_EXECUTIONS + 1})).all()
    nodes = [Node(*row) for row in rows[:MOST_EXECUTIONS]]
    return Tree(_arrange(nodes), is_cut=len(rows) > MOST_EXECUTIONS)


def _arrange(nodes: Sequence[Node]) -> Sequence[tuple[Node, int]]:
    """Depth first; with a stack of its own, for a chain of runs may be longer than Python cares to recurse."""
    children: dict[int | None, list[Node]] = defaultdict(list)
    for node in sorted(nodes[1:], key=lambda node: (node.start_date, node.id), reverse=True):
        children[node.parent_id].append(node)
    order: list[tuple[Node, int]] = []
    pending = [(node, 0) for node in nodes[:1]]
    while pending:
        node, depth = pending.pop()
        order.append((node, depth))
        pending.extend((child, depth + 1) for child in children[node.id])
    return order


async def read_names(session: AsyncSession, pipeline_ids: Iterable[int]) -> dict[int, str]:
    """The names of these pipelines."""
    rows = await session.execute(text(_NAMES), {"ids": sorted(set(pipeline_ids))})
    return {row.id: row.name for row in rows}
