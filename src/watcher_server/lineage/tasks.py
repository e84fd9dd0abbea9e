"""The task that rebuilds the address closure."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection

from watcher_server.addresses.models import Address
from watcher_server.database.rows import find_missing
from watcher_server.lineage.closure import rebuild_part
from watcher_server.lineage.service import NO_PIPELINE
from watcher_server.lineage.walk import ClosureChange
from watcher_server.lineage.walkers import walk_together
from watcher_server.pipelines.models import Pipeline
from watcher_server.tasking.sending.task import report_progress, task_transaction, watcher_task


@watcher_task("address_lineage_closure_rebuild_task", status="Rebuilding the lineage closure...")
def address_lineage_closure_rebuild_task(connected_addresses: list[int], pipeline_id: int) -> dict[str, int | str]:
    """Rebuild the closure around these addresses after the lineage of a pipeline changed; pipeline 0 mends all rows.

    A large rebuild commits part by part. When it is stopped on the way, its retry or any other rebuild continues it.
    """
    change = ClosureChange()
    with task_transaction() as connection:
        everything = pipeline_id == NO_PIPELINE
        skipped = _skipped(connection, connected_addresses, pipeline_id)
        remaining = rebuild_part(connection, connected_addresses, change, report_progress, everything=everything)
    if remaining:
        walk_together(task_transaction, change, remaining, report_progress)
    # None remains, unless other rebuilds left theirs meanwhile, or one of these died.
    while remaining:
        with task_transaction() as connection:
            remaining = rebuild_part(connection, (), change, report_progress)
    return {"pipeline_id": pipeline_id, **asdict(change), **skipped}


def _skipped(connection: Connection, addresses: Sequence[int], pipeline_id: int) -> dict[str, str]:
    """What the task was called with that does not exist. It rebuilds the rest."""
    missing = find_missing(connection, Address, addresses)
    if missing:
        some = f": {', '.join(map(str, missing[:10]))}" if len(missing) < len(set(addresses)) else ""
        return {"skipped": f"no such address{some}"}
    if pipeline_id != NO_PIPELINE and find_missing(connection, Pipeline, [pipeline_id]):
        return {"skipped": "no such pipeline"}
    return {}
