"""The task that maintains the execution closure."""

from watcher_server.executions.closure import maintain_closure
from watcher_server.queueing.task import CLOSURE_RETRIES, task_transaction, watcher_task


@watcher_task(
    "pipeline_execution_closure_maintain_task", status="Maintaining the execution closure...", **CLOSURE_RETRIES
)
def pipeline_execution_closure_maintain_task(execution_id: int, parent_id: int | None = None) -> dict[str, int]:
    """Maintain the hierarchy of an execution; ``parent_id`` is what its row says already."""
    with task_transaction() as connection:
        return {"rows_written": maintain_closure(connection, execution_id)}
