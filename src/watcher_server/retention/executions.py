"""Deleting executions with the logs, results and closure rows that refer to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from watcher_server.retention.batches import Batches

# A batch is a window over ix_pipeline_execution_start_date, newest first: children start after their parents, so they
# are deleted before the window reaches the parent. An execution with a child outside the batch stays, and so do its
# ancestors (children are found by ix_pipeline_execution_parent_id). The next pass looks at them again. Rows that
# another transaction has locked are skipped, such as a parent that is given a child at this moment.
DELETE_BATCH = """
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
), ping_runs AS (
    DELETE FROM ping_run USING doomed WHERE ping_run.execution_id = doomed.id
), openlineage_runs AS (
    DELETE FROM openlineage_run AS run USING doomed WHERE run.execution_id = doomed.id
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


@dataclass(frozen=True)
class Step:
    """The rows that one batch deleted, by the names of the answer, and the share of its work that is done, 0 to 1."""

    counts: dict[str, int]
    done: float


def delete_executions(engine: Engine, cutoff: datetime, batch_size: int) -> Iterator[Step]:
    """Delete the executions that started before the cutoff and have ended, batch by batch; ancestors of kept ones stay.

    It makes passes until one leaves nothing that another pass could delete. A caller that takes no further step stops
    it between two batches, and a later call goes on from there.
    """
    batches = Batches(engine, DELETE_BATCH, batch_size)
    with engine.begin() as connection:
        # By ix_pipeline_execution_start_date.
        oldest = connection.scalar(text("SELECT min(start_date) FROM pipeline_execution"))
    while True:
        seen = deleted = 0
        for row in _pass(batches, cutoff):
            seen += row.pop("seen")
            deleted += row["total_pipeline_executions_deleted"]
            reached = row.pop("start_date")
            # The share of the time before the cutoff that the batches have covered.
            yield Step(row, min(1.0, (cutoff - reached) / (cutoff - oldest)) if oldest < cutoff else 1.0)
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
