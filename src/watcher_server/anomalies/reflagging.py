"""Putting back the flags that a person cleared: with the numbers behind them, and the event that they were part of."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.flags import lock_execution, record_change
from watcher_server.anomalies.models import UnflaggedAnomaly
from watcher_server.anomalies.schemas import Reflag
from watcher_server.executions.models import PipelineExecution
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.opening import Finding, open_incidents
from watcher_server.kit.errors import NotFoundError

# What is about to be unflagged, whole: rows as they are, so that they come back as they were.
KEEP_RESULTS = """
INSERT INTO unflagged_anomaly (pipeline_execution_id, rule_id, metric_field, result, event)
SELECT result.pipeline_execution_id, result.rule_id, result.metric_field, to_jsonb(result), to_jsonb(event)
FROM anomaly_detection_result AS result LEFT JOIN anomaly_event AS event ON event.id = result.event_id
WHERE result.pipeline_execution_id = :execution_id AND result.metric_field = ANY(CAST(:metrics AS text[]))
ON CONFLICT (pipeline_execution_id, rule_id) DO UPDATE SET metric_field = excluded.metric_field,
    result = excluded.result, event = excluded.event, unflagged_at = now()
"""

_LOCK_RULES = """
SELECT id FROM anomaly_detection_rule WHERE id IN (
    SELECT rule_id FROM unflagged_anomaly
    WHERE pipeline_execution_id = :execution_id AND metric_field = ANY(CAST(:metrics AS text[]))
) ORDER BY id FOR NO KEY UPDATE
"""

# An event that is still there gets the run back; one that had no other run is there again under its old id.
_PUT_BACK = """
WITH kept AS (
    DELETE FROM unflagged_anomaly
    WHERE pipeline_execution_id = :execution_id AND metric_field = ANY(CAST(:metrics AS text[]))
    RETURNING result, event
), event AS (
    INSERT INTO anomaly_event (id, rule_id, pipeline_id, metric_field, direction, first_execution_id,
        last_execution_id, started_at, last_at, execution_count, alerted, accepted_at)
    OVERRIDING SYSTEM VALUE
    SELECT was.id, was.rule_id, was.pipeline_id, was.metric_field, was.direction, :execution_id, :execution_id,
        :ended_at, :ended_at, 1, was.alerted, was.accepted_at
    FROM kept CROSS JOIN LATERAL jsonb_populate_record(NULL::anomaly_event, kept.event) AS was
    WHERE kept.event IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET execution_count = anomaly_event.execution_count + 1,
        first_execution_id = CASE WHEN excluded.started_at < anomaly_event.started_at THEN :execution_id
            ELSE anomaly_event.first_execution_id END,
        last_execution_id = CASE WHEN excluded.last_at > anomaly_event.last_at THEN :execution_id
            ELSE anomaly_event.last_execution_id END,
        started_at = least(anomaly_event.started_at, excluded.started_at),
        last_at = greatest(anomaly_event.last_at, excluded.last_at)
)
INSERT INTO anomaly_detection_result OVERRIDING SYSTEM VALUE
SELECT was.* FROM kept CROSS JOIN LATERAL jsonb_populate_record(NULL::anomaly_detection_result, kept.result) AS was
RETURNING metric_field
"""

# The newest run of the pipeline that was judged is the one that says whether it is anomalous.
_IS_NEWEST = """
SELECT NOT EXISTS (
    SELECT FROM pipeline_execution AS later
    WHERE later.pipeline_id = :pipeline_id AND later.start_date > :started_at
        AND later.completed_successfully AND NOT later.backfill
)
"""


async def lock_unflagged(session: AsyncSession, rule_id: int, unflagged_at: datetime) -> Sequence[PipelineExecution]:
    """The runs whose flags of a rule were cleared at that moment, by id.

    They are locked before the first of them is put back: a judgement locks its run before the rules.
    """
    run, unflagged = PipelineExecution, UnflaggedAnomaly
    its = select(unflagged.pipeline_execution_id).where(
        unflagged.rule_id == rule_id, unflagged.unflagged_at == unflagged_at
    )
    statement = select(run).where(run.id.in_(its)).order_by(run.id).with_for_update(key_share=True)
    return (await session.scalars(statement)).all()


async def reflag(session: AsyncSession, body: Reflag) -> None:
    """Put back the named flags that were cleared on an execution, with their results and events. No alert is sent.

    Raises NotFoundError if the pipeline has no such execution, or none of the flags was cleared on it.
    """
    execution = await lock_execution(session, body.pipeline_id, body.pipeline_execution_id)
    metrics = [metric for metric, flag in execution.anomaly_flags.items() if metric in body.metric_field and not flag]
    parameters = {"execution_id": execution.id, "metrics": metrics, "ended_at": execution.end_date}
    await session.execute(text(_LOCK_RULES), parameters)
    back = (await session.scalars(text(_PUT_BACK), parameters)).all()
    if not back:
        named = ", ".join(sorted(set(body.metric_field)))
        raise NotFoundError(f"Pipeline execution {execution.id} has no flag for {named} that was cleared.")
    execution.anomaly_flags = execution.anomaly_flags | dict.fromkeys(back, True)
    await session.flush()
    connection = await session.connection()
    await connection.run_sync(_open_incident, execution, back)
    flags = [f"execution {execution.id}: {metric}" for metric in back]
    await record_change(session, "reflag", body.pipeline_id, dict.fromkeys(flags, False), dict.fromkeys(flags, True))


def _open_incident(connection: Connection, execution: PipelineExecution, metrics: Any) -> None:
    """The pipeline is anomalous again where this is its newest run, whatever people were told meanwhile."""
    parameters = {"pipeline_id": execution.pipeline_id, "started_at": execution.start_date}
    if execution.backfill or not connection.scalar(text(_IS_NEWEST), parameters):
        return
    detail = f"Execution ID {execution.id}: {', '.join(metrics)} out of range"
    since = execution.end_date or datetime.now(UTC)
    finding = Finding(since, detail, pipeline_id=execution.pipeline_id, execution_id=execution.id)
    open_incidents(connection, Kind.ANOMALOUS, [finding])
