"""The task that maintains the execution closure."""

from watcher_server.database.engine import sync_engine
from watcher_server.executions.closure import maintain_closure
from watcher_server.queueing.task import CLOSURE_RETRIES, watcher_task


@watcher_task("pipeline_execution_closure_maintain_task", **CLOSURE_RETRIES)
def pipeline_execution_closure_maintain_task(execution_id: int, parent_id: int | None = None) -> dict[str, int]:
    """Maintain the hierarchy of an execution; ``parent_id`` is what its row says already."""
    with sync_engine().begin() as connection:
        return {"rows_written": maintain_closure(connection, execution_id)}
