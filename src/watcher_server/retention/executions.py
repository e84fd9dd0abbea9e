"""Deleting executions, with what hangs on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from watcher_server.retention.batches import Batches

# A batch is a window over ix_pipeline_execution_start_date, newest first, for children start after their parents:
# they are gone when the window reaches the parent. What has a child outside the batch stays, and so do its ancestors
# (children are found by ix_pipeline_execution_parent_id); it has another chance when the pass is over. Rows that
# somebody else holds, such as a parent that is given a child at this moment, are skipped.
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

# By ix_pipeline_execution_start_date.
_OLDEST = "SELECT min(start_date) FROM pipeline_execution"


@dataclass(frozen=True)
class Step:
    """What one batch deleted, by the names of the answer, and how much of its part of the work is done, 0 to 1."""

    counts: dict[str, int]
    done: float


def delete_executions(engine: Engine, cutoff: datetime, batch_size: int) -> Iterator[Step]:
    """Delete what started before the cutoff and has ended, batch by batch; ancestors of anything kept stay.

    Pass after pass, until one has nothing left to come back for. Whoever stops asking for the next step stops it
    between two batches; the next time it goes on where this one was, for what is gone need not be looked at again.
    """
    batches = Batches(engine, _DELETE_BATCH, batch_size)
    with engine.begin() as connection:
        oldest = connection.scalar(text(_OLDEST))
    while True:
        seen = deleted = 0
        for row in _pass(batches, cutoff):
            seen += row.pop("seen")
            deleted += row["total_pipeline_executions_deleted"]
            reached = row.pop("start_date")
            yield Step(row, _share(oldest, reached, cutoff))
        if deleted in {0, seen}:
            return


def _pass(batches: Batches, cutoff: datetime) -> Iterator[dict[str, Any]]:
    """Every old execution once, from the newest to the oldest."""
    position = {"start_date": cutoff, "id": 0}
    while True:
        row = batches.run(position)._asdict()
        position = {"start_date": row["start_date"], "id": row.pop("id")}
        if position["id"] is None:
            return
        yield row


def _share(oldest: datetime, reached: datetime, cutoff: datetime) -> float:
    """How much of the time before the cutoff has been gone through."""
    return min(1.0, (cutoff - reached) / (cutoff - oldest)) if oldest < cutoff else 1.0
