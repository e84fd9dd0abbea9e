"""The closure of the execution tree."""

from sqlalchemy import Connection, text

# Upwards by parent_id, which never changes once written and always points at a row that existed before. Every child
# has a task of its own, so together they write every pair of the tree, in whatever order they run.
_MAINTAIN = """
WITH RECURSIVE ancestor (id, distance) AS (
    SELECT id, 0 FROM pipeline_execution WHERE id = :execution_id
    UNION ALL
    SELECT pipeline_execution.parent_id, distance + 1
    FROM pipeline_execution JOIN ancestor USING (id)
    WHERE pipeline_execution.parent_id IS NOT NULL
)
INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth)
SELECT id, :execution_id, distance FROM ancestor
ON CONFLICT (parent_execution_id, child_execution_id) DO NOTHING
"""


def maintain_closure(connection: Connection, execution_id: int) -> int:
    """Write the pairs (ancestor, execution, depth) that are missing; how many those were.

    The ancestors come from the executions themselves, not from the closure, so a child that is processed before its
    parent still finds all of them. An execution that no longer exists has none.
    """
    result = connection.execute(text(_MAINTAIN), {"execution_id": execution_id})
    return result.rowcount
