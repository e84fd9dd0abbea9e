"""The hot path: the start and the end of an execution, one statement and one round trip each.

Both run on autocommit, so the statement is the transaction: the row, its closure, the pipeline's state, the outbox
message and, for a day in the past, the note that its figures changed commit together or not at all.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from watcher_server.executions.schemas import ExecutionEnd, ExecutionStart
from watcher_server.kit.errors import ConflictError, InvalidOrderError, NotFoundError
from watcher_server.telemetry.context import current_context_json

# A run of a day that is over changes figures that are summed, or are being summed, and notes that. Where it is noted
# already, DO UPDATE locks the row and WHERE false leaves it be: who sums the day waits for the run, or the run for him.
# To be ready for that costs every run a few percent of the database's time even when there is nothing to note, so it is
# a statement of its own, taken when the first finds that the day is over. By the clock of the database: a day is summed
# an hour after it ended, so no statement that began before midnight is still to come.
_OF_TODAY = " AND {start} >= date_trunc('day', now(), 'UTC')"
_NOTED = """, noted AS (
    INSERT INTO daily_pipeline_metric_change AS change (date_recorded, pipeline_id)
    SELECT date_recorded, pipeline_id FROM {written} WHERE start_date < date_trunc('day', now(), 'UTC')
    ON CONFLICT (date_recorded, pipeline_id) DO UPDATE SET pipeline_id = change.pipeline_id WHERE false
)"""

# A root is its own closure; what lies above a child is for the task, which also copes with a late parent.
_START = """
WITH started AS (
    INSERT INTO pipeline_execution
        (pipeline_id, parent_id, start_date, date_recorded, hour_recorded, watermark, next_watermark)
    SELECT pipeline.id, %(parent_id)s::bigint, moment.start_date,
        (moment.start_date AT TIME ZONE 'UTC')::date,
        extract(hour FROM moment.start_date AT TIME ZONE 'UTC'),
        %(watermark)s::text, %(next_watermark)s::text
    FROM pipeline, (SELECT coalesce(%(start_date)s::timestamptz, now())) AS moment (start_date)
    WHERE pipeline.id = %(pipeline_id)s{of_today}
        AND (%(parent_id)s::bigint IS NULL
            OR EXISTS (SELECT FROM pipeline_execution WHERE id = %(parent_id)s::bigint))
    RETURNING id, pipeline_id, start_date, date_recorded
), closure AS (
    INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth)
    SELECT id, id, 0 FROM started
), queued AS (
    INSERT INTO outbox (task_name, kwargs, context)
    SELECT 'pipeline_execution_closure_maintain_task',
        jsonb_build_object('execution_id', id, 'parent_id', %(parent_id)s::bigint), %(context)s::jsonb
    FROM started WHERE %(parent_id)s::bigint IS NOT NULL
){noted}
SELECT id FROM started
"""

# Only a running execution matches, so a second end finds nothing to do: two at once wait for each other on the row.
# IS NULL would let the planner take the index of running executions for the smaller one, and read all that run.
# A watermark that neither the run nor the pipeline names stays what it was, and so does one that a later run has set:
# overlapping runs end in any order. A late report of an old run does not turn the last write back, either. But a date
# in the future that was reported by mistake does not stay for ever.
_END = """
WITH ended AS (
    UPDATE pipeline_execution SET
        end_date = moment.end_date,
        completed_successfully = %(completed_successfully)s,
        duration_seconds = moment.seconds,
        inserts = %(inserts)s::bigint,
        updates = %(updates)s::bigint,
        soft_deletes = %(soft_deletes)s::bigint,
        total_rows = %(total_rows)s::bigint,
        throughput = CASE WHEN moment.seconds = 0 AND %(total_rows)s::bigint IS NOT NULL THEN 0
            ELSE round(%(total_rows)s::numeric / nullif(moment.seconds, 0), 4) END,
        execution_metadata = %(execution_metadata)s::jsonb
    FROM (
        SELECT id, given.end_date, round(extract(epoch FROM given.end_date - start_date)) AS seconds
        FROM pipeline_execution, (SELECT coalesce(%(end_date)s::timestamptz, now())) AS given (end_date)
        WHERE id = %(id)s{of_today}
    ) AS moment
    WHERE pipeline_execution.id = moment.id
        AND num_nonnulls(pipeline_execution.end_date) = 0
        AND pipeline_execution.start_date < moment.end_date
    RETURNING pipeline_execution.id, pipeline_id, start_date, date_recorded, next_watermark, moment.end_date
), moved AS (
    UPDATE pipeline SET
        watermark = CASE WHEN watermark_start_date > ended.start_date AND watermark_start_date <= now()
            THEN pipeline.watermark
            ELSE coalesce(ended.next_watermark, pipeline.next_watermark, pipeline.watermark) END,
        watermark_start_date = CASE WHEN watermark_start_date > ended.start_date AND watermark_start_date <= now()
                OR coalesce(ended.next_watermark, pipeline.next_watermark) IS NULL
            THEN watermark_start_date
            ELSE ended.start_date END,
        last_target_insert = CASE WHEN %(inserts)s::bigint > 0
            THEN greatest(ended.end_date, CASE WHEN last_target_insert <= now() THEN last_target_insert END)
            ELSE last_target_insert END,
        last_target_update = CASE WHEN %(updates)s::bigint > 0
            THEN greatest(ended.end_date, CASE WHEN last_target_update <= now() THEN last_target_update END)
            ELSE last_target_update END,
        last_target_soft_delete = CASE WHEN %(soft_deletes)s::bigint > 0
            THEN greatest(ended.end_date, CASE WHEN last_target_soft_delete <= now() THEN last_target_soft_delete END)
            ELSE last_target_soft_delete END,
        load_lineage = false
    FROM ended
    WHERE pipeline.id = ended.pipeline_id AND %(completed_successfully)s
), queued AS (
    INSERT INTO outbox (task_name, kwargs, context)
    SELECT 'detect_anomalies_task', jsonb_build_object('pipeline_id', pipeline_id, 'pipeline_execution_id', id),
        %(context)s::jsonb
    FROM ended WHERE %(completed_successfully)s
){noted}
SELECT id FROM ended
"""

START_STATEMENT = _START.format(of_today=_OF_TODAY.format(start="moment.start_date"), noted="")
START_PAST_STATEMENT = _START.format(of_today="", noted=_NOTED.format(written="started"))
END_STATEMENT = _END.format(of_today=_OF_TODAY.format(start="start_date"), noted="")
END_PAST_STATEMENT = _END.format(of_today="", noted=_NOTED.format(written="ended"))
# What is reported so late is tried as a run of the past at once.
_PAST_AFTER = timedelta(days=1)

# An end without a date of its own was given one by the server, so a repeat of it is judged by the rest. What still runs
# was refused for its order, also when its start has come meanwhile.
_STORED_END = """
SELECT end_date IS NOT NULL AND start_date < coalesce(%(end_date)s::timestamptz, now()) AS ordered,
    (end_date = coalesce(%(end_date)s::timestamptz, end_date)
        AND completed_successfully = %(completed_successfully)s
        AND (inserts, updates, soft_deletes, total_rows) IS NOT DISTINCT FROM
            (%(inserts)s::bigint, %(updates)s::bigint, %(soft_deletes)s::bigint, %(total_rows)s::bigint)
        AND execution_metadata IS NOT DISTINCT FROM %(execution_metadata)s::jsonb) AS repeated
FROM pipeline_execution WHERE id = %(id)s
"""

Connection = AsyncConnection[TupleRow]


async def _fetch_one(connection: Connection, statement: str, parameters: dict[str, Any]) -> TupleRow | None:
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchone()


async def _write(
    connection: Connection, statement: str, past_statement: str, reported: datetime | None, parameters: dict[str, Any]
) -> TupleRow | None:
    if reported is None or reported > datetime.now(UTC) - _PAST_AFTER:
        row = await _fetch_one(connection, statement, parameters)
        if row is not None:
            return row
    return await _fetch_one(connection, past_statement, parameters)


async def start_execution(connection: Connection, body: ExecutionStart) -> int:
    """Store a run that begins; its id.

    Raises:
        NotFoundError: the pipeline or the parent does not exist.
    """
    parameters: dict[str, Any] = {
        "pipeline_id": body.pipeline_id,
        "parent_id": body.parent_id,
        "start_date": body.start_date,
        "watermark": body.watermark,
        "next_watermark": body.next_watermark,
        "context": None if body.parent_id is None else current_context_json(),
    }
    row = await _write(connection, START_STATEMENT, START_PAST_STATEMENT, body.start_date, parameters)
    if row is None:
        await _explain_missing(connection, body)
    execution_id: int = row[0]  # type: ignore[index]
    return execution_id


async def _explain_missing(connection: Connection, body: ExecutionStart) -> None:
    statement = "SELECT FROM pipeline WHERE id = %(pipeline_id)s"
    if await _fetch_one(connection, statement, {"pipeline_id": body.pipeline_id}) is None:
        raise NotFoundError(f"No pipeline has the id {body.pipeline_id}.")
    raise NotFoundError(f"No pipeline execution has the id {body.parent_id}, so it cannot be a parent.")


async def end_execution(connection: Connection, body: ExecutionEnd) -> bool:
    """Store how a run ended; whether this call did, or an earlier one with the same content.

    Raises:
        NotFoundError: no such execution.
        InvalidOrderError: the end does not come after the start.
        ConflictError: the execution ended already, differently.
    """
    metadata = body.execution_metadata
    parameters: dict[str, Any] = {
        "id": body.id,
        "end_date": body.end_date,
        "completed_successfully": body.completed_successfully,
        "inserts": body.inserts,
        "updates": body.updates,
        "soft_deletes": body.soft_deletes,
        "total_rows": body.total_rows,
        "execution_metadata": None if metadata is None else Jsonb(metadata),
        "context": current_context_json() if body.completed_successfully else None,
    }
    if await _write(connection, END_STATEMENT, END_PAST_STATEMENT, body.end_date, parameters) is not None:
        return True
    await _explain_unended(connection, body.id, body.end_date, parameters)
    return False


async def _explain_unended(
    connection: Connection, execution_id: int, end_date: datetime | None, parameters: dict[str, Any]
) -> None:
    row = await _fetch_one(connection, _STORED_END, parameters)
    if row is None:
        raise NotFoundError(f"No pipeline execution has the id {execution_id}.")
    ordered, repeated = row
    if not ordered:
        raise InvalidOrderError(f"end_date must be greater than start_date (end_date is {end_date or 'now'}).")
    if not repeated:
        raise ConflictError(f"Pipeline execution {execution_id} has already ended, with other values.")
