"""Deleting what is older than the retention, in small transactions, while everything else goes on."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg.errors import ForeignKeyViolation
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.database.locks import CLEANUP_LOCK
from watcher_server.kit.errors import ConflictError
from watcher_server.retention.schemas import CleanupRequest, CleanupResult

_TRIES = 5

# A batch is a window over ix_pipeline_execution_start_date, newest first, for children start after their parents:
# whole trees fit in it and go together. What has a child outside the batch stays, and so do its ancestors (children
# are found by ix_pipeline_execution_parent_id); it has another chance when the pass is over. Rows that somebody else
# holds, such as a parent that is given a child at this moment, are skipped.
_DELETE_BATCH = """
WITH RECURSIVE batch AS MATERIALIZED (
    SELECT id, parent_id, start_date FROM pipeline_execution
    WHERE (start_date, id) < (:start_date, :id) AND end_date IS NOT NULL
    ORDER BY start_date DESC, id DESC LIMIT :batch_size
    FOR UPDATE SKIP LOCKED
), blocked AS (
    SELECT child.parent_id AS id FROM batch JOIN pipeline_execution AS child ON child.parent_id = batch.id
    WHERE NOT EXISTS (SELECT FROM batch AS other WHERE other.id = child.id)
    UNION
    SELECT batch.parent_id FROM blocked JOIN batch ON batch.id = blocked.id WHERE batch.parent_id IS NOT NULL
), doomed AS MATERIALIZED (
    SELECT id FROM batch WHERE NOT EXISTS (SELECT FROM blocked WHERE blocked.id = batch.id)
), timeliness_logs AS (
    DELETE FROM timeliness_pipeline_execution_log AS log USING doomed
    WHERE log.pipeline_execution_id = doomed.id RETURNING 1
), anomaly_results AS (
    DELETE FROM anomaly_detection_result AS result USING doomed
    WHERE result.pipeline_execution_id = doomed.id RETURNING 1
), closure_parents AS (
    DELETE FROM pipeline_execution_closure AS closure USING doomed
    WHERE closure.parent_execution_id = doomed.id RETURNING 1
), closure_children AS (
    DELETE FROM pipeline_execution_closure AS closure USING doomed
    WHERE closure.child_execution_id = doomed.id
        AND NOT EXISTS (SELECT FROM doomed AS parent WHERE parent.id = closure.parent_execution_id) RETURNING 1
), executions AS (
    DELETE FROM pipeline_execution AS execution USING doomed WHERE execution.id = doomed.id RETURNING 1
)
SELECT (SELECT count(*) FROM executions) AS total_pipeline_executions_deleted,
    (SELECT count(*) FROM timeliness_logs) AS total_timeliness_pipeline_execution_logs_deleted,
    (SELECT count(*) FROM anomaly_results) AS total_anomaly_detection_results_deleted,
    (SELECT count(*) FROM closure_parents) AS total_pipeline_execution_closure_parent_deleted,
    (SELECT count(*) FROM closure_children) AS total_pipeline_execution_closure_child_deleted,
    (SELECT count(*) FROM batch) AS seen, oldest.start_date, oldest.id
FROM (SELECT) AS always
LEFT JOIN (SELECT start_date, id FROM batch ORDER BY start_date, id LIMIT 1) AS oldest ON true
"""

# No index on evaluated_at: the log has one row per stale state, and this runs once in a long while. The row of the
# state that a pipeline is still in stays, however old: it is what keeps the check from alerting that state again.
_DELETE_FRESHNESS_BATCH = """
DELETE FROM freshness_pipeline_log WHERE id IN (
    SELECT log.id FROM freshness_pipeline_log AS log JOIN pipeline ON pipeline.id = log.pipeline_id
    WHERE log.evaluated_at < :cutoff
        AND log.last_dml_timestamp IS DISTINCT FROM greatest(
            pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete
        )
    LIMIT :batch_size FOR UPDATE OF log SKIP LOCKED
)
"""


@dataclass(frozen=True)
class _Position:
    """How far a pass has got: everything before it, in time, is still to be looked at."""

    start_date: datetime
    id: int = 0


async def clean_up(engine: AsyncEngine, request: CleanupRequest) -> CleanupResult:
    """Delete finished executions that started before the retention, with what hangs on them, and old freshness logs.

    Running executions and ancestors of anything kept stay, and so does the log of the state that a pipeline is in.
    Each batch commits by itself: what was deleted stays deleted when a later one fails.

    Raises:
        ConflictError: another cleanup is running.
    """
    cutoff = datetime.now(UTC) - timedelta(days=request.retention_days)
    # A lock of the transaction ends with it, whatever happens to this process.
    async with engine.begin() as guard:
        if not await guard.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": CLEANUP_LOCK}):
            raise ConflictError("Another cleanup is running: try again when it has finished.")
        counts = await _delete_executions(engine, cutoff, request.batch_size)
        counts["total_freshness_pipeline_logs_deleted"] = await _delete_freshness_logs(
            engine, cutoff, request.batch_size
        )
    return CleanupResult(**counts)


async def _delete_executions(engine: AsyncEngine, cutoff: datetime, batch_size: int) -> Counter[str]:
    """Pass after pass, until one has nothing left to come back for."""
    total: Counter[str] = Counter()
    while True:
        seen, counts = await _pass(engine, cutoff, batch_size)
        total += counts
        deleted = counts["total_pipeline_executions_deleted"]
        if deleted in {0, seen}:
            return total


async def _pass(engine: AsyncEngine, cutoff: datetime, batch_size: int) -> tuple[int, Counter[str]]:
    """Every old execution once, from the newest to the oldest: how many were seen, and what was deleted."""
    total: Counter[str] = Counter()
    position: _Position | None = _Position(cutoff)
    while position is not None:
        position, counts = await _delete_batch(engine, position, batch_size)
        total += counts
    return total.pop("seen", 0), total


async def _delete_batch(
    engine: AsyncEngine, position: _Position, batch_size: int
) -> tuple[_Position | None, Counter[str]]:
    parameters = {"start_date": position.start_date, "id": position.id, "batch_size": batch_size}
    for _ in range(_TRIES - 1):
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(_execute_batch, parameters)
        except IntegrityError as error:
            # A run was given one of these as its parent after the batch had been looked at: look again.
            if not isinstance(error.orig, ForeignKeyViolation):
                raise
    async with engine.begin() as connection:
        return await connection.run_sync(_execute_batch, parameters)


def _execute_batch(connection: Connection, parameters: dict[str, object]) -> tuple[_Position | None, Counter[str]]:
    row = connection.execute(text(_DELETE_BATCH), parameters).one()._asdict()
    start_date, id_ = row.pop("start_date"), row.pop("id")
    return None if id_ is None else _Position(start_date, id_), Counter(row)


async def _delete_freshness_logs(engine: AsyncEngine, cutoff: datetime, batch_size: int) -> int:
    total = 0
    while True:
        async with engine.begin() as connection:
            result = await connection.execute(
                text(_DELETE_FRESHNESS_BATCH), {"cutoff": cutoff, "batch_size": batch_size}
            )
        total += result.rowcount
        if result.rowcount < batch_size:
            return total
