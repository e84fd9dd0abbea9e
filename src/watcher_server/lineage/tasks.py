"""The task that rebuilds the address closure."""

from dataclasses import asdict

from watcher_server.lineage.closure import rebuild_closure
from watcher_server.queueing.task import report_progress, task_transaction, watcher_task


@watcher_task("address_lineage_closure_rebuild_task", status="Rebuilding the lineage closure...")
def address_lineage_closure_rebuild_task(connected_addresses: list[int], pipeline_id: int) -> dict[str, int]:
    """Rebuild the closure around these addresses; ``pipeline_id`` names whose lineage changed, for whoever looks."""
    with task_transaction() as connection:
        return {"pipeline_id": pipeline_id, **asdict(rebuild_closure(connection, connected_addresses, report_progress))}
