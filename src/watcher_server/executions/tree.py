"""An execution with everything below it, as JSON."""

from collections import defaultdict

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.errors import NotFoundError

# By parent_id, not by the closure: the tree is whole even while the closure is still being written.
# PostgreSQL writes each row as JSON; UNION ALL is safe, for a parent always exists before its child.
_TREE = """
WITH RECURSIVE tree AS (
    SELECT pipeline_execution.* FROM pipeline_execution WHERE id = :id
    UNION ALL
    SELECT child.* FROM pipeline_execution AS child JOIN tree ON child.parent_id = tree.id
)
SELECT id, parent_id, json_build_object(
    'id', id, 'parent_id', parent_id, 'pipeline_id', pipeline_id,
    'start_date', start_date, 'end_date', end_date, 'duration_seconds', duration_seconds,
    'completed_successfully', completed_successfully,
    'inserts', inserts, 'updates', updates, 'soft_deletes', soft_deletes, 'total_rows', total_rows,
    'watermark', watermark, 'next_watermark', next_watermark,
    'execution_metadata', execution_metadata, 'anomaly_flags', anomaly_flags, 'throughput', throughput
)::text
FROM tree ORDER BY id
"""


async def read_tree(session: AsyncSession, execution_id: int) -> bytes:
    """The execution as JSON, its descendants nested in ``child_executions``, by id.

    Raises:
        NotFoundError: no such execution.
    """
    rows = (await session.execute(text(_TREE), {"id": execution_id})).all()
    if not rows:
        raise NotFoundError(f"No pipeline execution has the id {execution_id}.")
    children: dict[int | None, list[int]] = defaultdict(list)
    facts: dict[int, str] = {}
    for id_, parent_id, as_json in rows:
        facts[id_] = as_json
        if id_ != execution_id:
            children[parent_id].append(id_)
    return "".join(_nest(execution_id, facts, children)).encode()


def _nest(root: int, facts: dict[int, str], children: dict[int | None, list[int]]) -> list[str]:
    """The pieces of the nested JSON text.

    With a stack of its own: a chain of runs may be longer than Python, or a JSON encoder, cares to recurse.
    """
    pieces: list[str] = []
    pending: list[int | str] = [root]
    while pending:
        step = pending.pop()
        if isinstance(step, str):
            pieces.append(step)
            continue
        pieces.append(facts[step].removesuffix("}") + ', "child_executions" : [')
        pending.append("]}")
        for position, child in enumerate(reversed(children[step])):
            if position:
                pending.append(",")
            pending.append(child)
    return pieces
