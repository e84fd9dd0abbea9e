"""Corrections that people make: a flagged value was no anomaly, or its level is the new normal."""

from collections.abc import Sequence

from sqlalchemy import func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.flags import lock_execution, record_change
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent
from watcher_server.anomalies.normals import WITH_PRESENT_NORMAL
from watcher_server.anomalies.reflagging import KEEP_RESULTS
from watcher_server.anomalies.rules import Metric
from watcher_server.anomalies.schemas import AcceptNewNormal, Unflag
from watcher_server.executions.models import PipelineExecution
from watcher_server.incidents.opening import lock_incidents
from watcher_server.incidents.resolving import resolve_what_is_over
from watcher_server.kit.errors import ConflictError, NotFoundError

# A judgement locks the same rules before it extends an event, so an event that is being extended is not deleted here.
_LOCK_RULES_OF_RESULTS = """
SELECT id FROM anomaly_detection_rule
WHERE id IN (
    SELECT rule_id FROM anomaly_detection_result
    WHERE pipeline_execution_id = :execution_id AND metric_field = ANY(CAST(:metrics AS text[]))
)
ORDER BY id FOR NO KEY UPDATE
"""

# An event is shortened to the runs that it has left, and one without any is returned, to be deleted.
_FORGET_RESULTS = """
WITH gone AS (
    DELETE FROM anomaly_detection_result
    WHERE pipeline_execution_id = :execution_id AND metric_field = ANY(CAST(:metrics AS text[]))
    RETURNING event_id
), emptied AS (
    SELECT event_id FROM gone WHERE event_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM anomaly_detection_result AS other
        WHERE other.event_id = gone.event_id AND other.pipeline_execution_id <> :execution_id
    )
), left_over AS (
    SELECT result.event_id, min(run.end_date) AS started_at, max(run.end_date) AS last_at,
        (array_agg(run.id ORDER BY run.end_date, run.id))[1] AS first_id,
        (array_agg(run.id ORDER BY run.end_date DESC, run.id DESC))[1] AS last_id
    FROM anomaly_detection_result AS result JOIN pipeline_execution AS run ON run.id = result.pipeline_execution_id
    WHERE result.event_id IN (SELECT event_id FROM gone) AND run.id <> :execution_id
    GROUP BY result.event_id
), shortened AS (
    UPDATE anomaly_event AS event SET execution_count = execution_count - 1,
        first_execution_id = CASE WHEN first_execution_id = :execution_id THEN first_id ELSE first_execution_id END,
        started_at = CASE WHEN first_execution_id = :execution_id THEN left_over.started_at ELSE event.started_at END,
        last_execution_id = CASE WHEN last_execution_id = :execution_id THEN last_id ELSE last_execution_id END,
        last_at = CASE WHEN last_execution_id = :execution_id THEN left_over.last_at ELSE event.last_at END
    FROM left_over WHERE event.id = left_over.event_id
)
SELECT event_id FROM emptied
"""


async def unflag_anomaly(session: AsyncSession, body: Unflag) -> None:
    """Clear the named flags that exist, so that they read false, and delete their results.

    A cleared flag stays on the execution: the metric is not judged again, and counts in later baselines. What is
    deleted is kept aside, so that :func:`watcher_server.anomalies.reflagging.reflag` can put it back.
    Raises NotFoundError if the pipeline has no such execution, or the execution none of the flags.
    """
    execution = await lock_execution(session, body.pipeline_id, body.pipeline_execution_id)
    cleared = [metric for metric in execution.anomaly_flags if metric in body.metric_field]
    if not cleared:
        named = ", ".join(sorted(set(body.metric_field)))
        raise NotFoundError(f"Pipeline execution {execution.id} has no anomaly flag for {named}.")
    was = {f"execution {execution.id}: {metric}": execution.anomaly_flags[metric] for metric in cleared}
    execution.anomaly_flags = execution.anomaly_flags | dict.fromkeys(cleared, False)
    parameters = {"execution_id": execution.id, "metrics": cleared}
    await session.execute(text(_LOCK_RULES_OF_RESULTS), parameters)
    await session.execute(text(KEEP_RESULTS), parameters)
    emptied = (await session.scalars(text(_FORGET_RESULTS), parameters)).all()
    await session.execute(text("DELETE FROM anomaly_event WHERE id = ANY(:ids)"), {"ids": list(emptied)})
    await _resolve(session, body.pipeline_id)
    await record_change(session, "unflag", body.pipeline_id, was, dict.fromkeys(was, False))


async def accept_new_normal(session: AsyncSession, body: AcceptNewNormal) -> Sequence[AnomalyDetectionRule]:
    """Have the named metrics learnt anew from an execution on, flagged runs up to now included; the rules changed.

    Raises NotFoundError if the pipeline has no such execution, or no rule for any of the metrics; ConflictError if the
    execution has not ended successfully.
    """
    execution = await lock_execution(session, body.pipeline_id, body.pipeline_execution_id)
    if not execution.completed_successfully:
        raise ConflictError(
            f"Pipeline execution {execution.id} has not ended successfully, so its numbers are no level to accept."
        )
    rules = await _lock_rules(session, body)
    before = {f"{rule.metric_field}.normal_from": rule.normal_from for rule in rules}
    for rule in rules:
        rule.normal_from, rule.updated_at, rule.learning = execution.end_date, func.now(), True
        rule.normal_until = func.greatest(func.now(), execution.end_date)
        rule.former_normals = literal_column(WITH_PRESENT_NORMAL, JSONB)
    await session.execute(
        update(AnomalyEvent)
        .where(
            AnomalyEvent.rule_id.in_([rule.id for rule in rules]),
            AnomalyEvent.last_at >= execution.end_date,
            AnomalyEvent.accepted_at.is_(None),
        )
        .values(accepted_at=func.now())
    )
    await session.flush()
    await _resolve(session, body.pipeline_id)
    for rule in rules:
        await session.refresh(rule)
    after = {f"{rule.metric_field}.normal_from": rule.normal_from for rule in rules}
    await record_change(session, "accept_new_normal", body.pipeline_id, before, after)
    return rules


async def _resolve(session: AsyncSession, pipeline_id: int) -> None:
    """Resolve the incident of the pipeline, if nothing calls its runs anomalous any more."""
    connection = await session.connection()
    await connection.run_sync(lock_incidents)
    await connection.run_sync(resolve_what_is_over, pipeline_id)


async def lock_runs(session: AsyncSession, event_id: int) -> Sequence[int]:
    """The runs of the event, by id, locked. A judgement locks its run before the rules, so lock all runs first."""
    run, result = PipelineExecution, AnomalyDetectionResult
    statement = (
        select(run.id)
        .where(run.id.in_(select(result.pipeline_execution_id).where(result.event_id == event_id)))
        .order_by(run.id)
        .with_for_update(key_share=True)
    )
    return (await session.scalars(statement)).all()


async def _lock_rules(session: AsyncSession, body: AcceptNewNormal) -> Sequence[AnomalyDetectionRule]:
    statement = (
        select(AnomalyDetectionRule)
        .where(
            AnomalyDetectionRule.pipeline_id == body.pipeline_id,
            # At most six, however many names the request carries.
            AnomalyDetectionRule.metric_field.in_(sorted({*body.metric_field} & {*Metric})),
        )
        .order_by(AnomalyDetectionRule.id)
        .with_for_update(key_share=True)
    )
    rules = (await session.scalars(statement)).all()
    if not rules:
        named = ", ".join(sorted(set(body.metric_field)))
        raise NotFoundError(f"Pipeline {body.pipeline_id} has no anomaly detection rule for {named}.")
    return rules
