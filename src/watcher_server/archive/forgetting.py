"""Deleting a pipeline or an address with everything that refers to it, in transactions that others do not notice."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from watcher_server.archive.service import Kind
from watcher_server.lineage.closure import rebuild_part
from watcher_server.lineage.walk import ClosureChange
from watcher_server.retention.batches import Batches

# By ix_pipeline_execution_pipeline_id_id. Runs of other pipelines that one of these called become roots, and the pairs
# that were connected through it are none any more. Logs and results of a run go with it.
_EXECUTIONS = """
WITH batch AS MATERIALIZED (
    SELECT id FROM pipeline_execution WHERE pipeline_id = :id ORDER BY id DESC LIMIT :batch_size FOR UPDATE
), orphaned AS (
    UPDATE pipeline_execution AS child SET parent_id = NULL FROM batch
    WHERE child.parent_id = batch.id AND child.id NOT IN (SELECT id FROM batch)
), severed AS (
    DELETE FROM pipeline_execution_closure AS closure USING (
        SELECT DISTINCT above.parent_execution_id AS top, below.child_execution_id AS bottom
        FROM batch
        JOIN pipeline_execution_closure AS above ON above.child_execution_id = batch.id
        JOIN pipeline_execution_closure AS below ON below.parent_execution_id = batch.id
    ) AS pair
    WHERE closure.parent_execution_id = pair.top AND closure.child_execution_id = pair.bottom
), ping_runs AS (
    DELETE FROM ping_run USING batch WHERE ping_run.execution_id = batch.id
), openlineage_runs AS (
    DELETE FROM openlineage_run AS run USING batch WHERE run.execution_id = batch.id
), deleted AS (
    DELETE FROM pipeline_execution AS execution USING batch WHERE execution.id = batch.id RETURNING 1
)
SELECT count(*) AS deleted FROM deleted
"""

# Each by an index that begins with the pipeline. What hangs on an incident goes with it.
_MANY_ROWS = ("anomaly_event", "freshness_pipeline_log", "missed_run_log", "ping_run", "incident", "alert_subject")
_BATCH_OF = """
WITH deleted AS (
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE pipeline_id = :id LIMIT :batch_size))
    RETURNING 1
)
SELECT count(*) AS deleted FROM deleted
"""

# What events say of its jobs' runs that have no execution, such as those that are a part of another, by the indexes on
# pipeline_id and job_id.
_OPENLINEAGE_RUNS = """
WITH deleted AS (
    DELETE FROM openlineage_run WHERE key = ANY(ARRAY(
        SELECT run.key FROM openlineage_job AS job JOIN openlineage_run AS run ON run.job_id = job.id
        WHERE job.pipeline_id = :id LIMIT :batch_size
    ))
    RETURNING 1
)
SELECT count(*) AS deleted FROM deleted
"""

# A few rows each, at most one a day; the pipeline last.
_REST_OF_PIPELINE = (
    "DELETE FROM anomaly_detection_rule WHERE pipeline_id = :id",
    "DELETE FROM daily_pipeline_metric WHERE pipeline_id = :id",
    "DELETE FROM daily_pipeline_metric_change WHERE pipeline_id = :id",
    "DELETE FROM archived_address_lineage WHERE pipeline_id = :id",
    "DELETE FROM address_lineage WHERE pipeline_id = :id",
    "DELETE FROM openlineage_job WHERE pipeline_id = :id",
    "DELETE FROM pipeline WHERE id = :id AND forgotten_at IS NOT NULL",
)
_REST_OF_ADDRESS = (
    "DELETE FROM archived_address_lineage WHERE source_address_id = :id OR target_address_id = :id",
    "DELETE FROM address_lineage_closure WHERE source_address_id = :id OR target_address_id = :id",
    "DELETE FROM address_lineage_pending WHERE source_address_id = :id",
    "DELETE FROM openlineage_dataset WHERE address_id = :id",
    "DELETE FROM address_schema_change WHERE address_id = :id",
    "DELETE FROM address WHERE id = :id AND forgotten_at IS NOT NULL",
)


@dataclass(frozen=True)
class Forgotten:
    """How many rows were deleted; ``finished`` is false when something is left."""

    rows: int
    finished: bool


def forget_all(
    engine: Engine,
    kind: Kind,
    id_: int,
    *,
    goes_on: Callable[[], bool] = lambda: True,
    report: Callable[[str, int], None] = lambda _step, _percent: None,
) -> Forgotten:
    """Delete it, batch by batch, until ``goes_on`` returns false. It must have been forgotten before.

    How much is left is not counted, so ``report`` gets 0 percent until the end.
    """
    with engine.connect() as connection:
        statement = text(f"SELECT forgotten_at IS NOT NULL FROM {kind} WHERE id = :id")  # noqa: S608 - of two tables
        if not connection.scalar(statement, {"id": id_}):
            return Forgotten(0, finished=True)
    rows = 0
    for deleted in _steps(engine, kind, id_):
        rows += deleted
        report(f"Deleted {rows:,} rows", 0)
        if not goes_on():
            return Forgotten(rows, finished=False)
    # A run or a rule that was reported meanwhile refers to it: the next turn deletes that, too.
    with suppress(IntegrityError), engine.begin() as connection:
        for rest in _REST_OF_PIPELINE if kind is Kind.PIPELINE else _REST_OF_ADDRESS:
            rows += connection.execute(text(rest), {"id": id_}).rowcount
        return Forgotten(rows, finished=True)
    return Forgotten(rows, finished=False)


def _steps(engine: Engine, kind: Kind, id_: int) -> Iterator[int]:
    if kind is Kind.PIPELINE:
        for statement in (_EXECUTIONS, _OPENLINEAGE_RUNS, *(_BATCH_OF.format(table=table) for table in _MANY_ROWS)):
            batches = Batches(engine, statement, largest=10_000)
            while deleted := batches.run({"id": id_}).deleted:
                yield deleted
    else:
        yield from _take_out_of_closure(engine, id_)


def _take_out_of_closure(engine: Engine, id_: int) -> Iterator[int]:
    """Rebuild around the address, which has no edges any more, before its own rows go."""
    connected, remaining, change = [id_], 1, ClosureChange()
    while remaining:
        with engine.begin() as connection:
            remaining = rebuild_part(connection, connected, change, lambda _step, _percent: None)
        connected = []
        yield 0
