"""The task that maintains the closure of the execution tree."""

from sqlalchemy import Connection, text

from watcher_server.database.rows import find_missing
from watcher_server.executions.models import PipelineExecution
from watcher_server.tasking.sending.task import CLOSURE_RETRIES, task_transaction, watcher_task

# Upwards by parent_id, which never changes and always points to an older row. Each child has its own task, so together
# the tasks write every pair of the tree, in any order.
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
    """Write the missing pairs (ancestor, execution, depth); how many.

    The ancestors come from the executions and not from the closure, so a child that is processed before its parent
    finds all of them. An execution that was deleted has none.
    """
    return connection.execute(text(_MAINTAIN), {"execution_id": execution_id}).rowcount


@watcher_task(
    "pipeline_execution_closure_maintain_task", status="Maintaining the execution closure...", **CLOSURE_RETRIES
)
def pipeline_execution_closure_maintain_task(execution_id: int, parent_id: int | None = None) -> dict[str, int | str]:
    """Maintain the hierarchy of an execution; ``parent_id`` is what its row says already."""
    with task_transaction() as connection:
        rows = maintain_closure(connection, execution_id)
        if not rows and find_missing(connection, PipelineExecution, [execution_id]):
            return {"rows_written": 0, "skipped": "no such execution"}
    return {"rows_written": rows}
