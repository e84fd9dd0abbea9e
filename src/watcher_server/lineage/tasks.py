"""The task that rebuilds the address closure."""

from dataclasses import asdict

from watcher_server.lineage.closure import rebuild_part
from watcher_server.lineage.service import NO_PIPELINE
from watcher_server.lineage.walk import ClosureChange
from watcher_server.queueing.task import report_progress, task_transaction, watcher_task


@watcher_task("address_lineage_closure_rebuild_task", status="Rebuilding the lineage closure...")
def address_lineage_closure_rebuild_task(connected_addresses: list[int], pipeline_id: int) -> dict[str, int]:
    """Rebuild the closure around these addresses; ``pipeline_id`` names whose lineage changed, 0 mends all of it.

    A large rebuild commits part by part. One that is stopped on the way is continued by its retry, or by any other.
    """
    change = ClosureChange()
    with task_transaction() as connection:
        everything = pipeline_id == NO_PIPELINE
        remaining = rebuild_part(connection, connected_addresses, change, report_progress, everything=everything)
    while remaining:
        with task_transaction() as connection:
            remaining = rebuild_part(connection, (), change, report_progress)
    return {"pipeline_id": pipeline_id, **asdict(change)}
