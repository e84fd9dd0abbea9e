"""What people do with anomalies: set rules, read results, clear flags."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule
from watcher_server.anomalies.schemas import RulePatch, RulePost, Unflag
from watcher_server.executions.models import PipelineExecution
from watcher_server.kit.configuration import apply_changes, find, find_for_update, get_or_create
from watcher_server.kit.errors import ConflictError, NotFoundError
from watcher_server.kit.listing import Page
from watcher_server.pipelines.models import Pipeline


async def sync_rule(session: AsyncSession, body: RulePost) -> tuple[AnomalyDetectionRule, bool]:
    """Get or create the rule for the body's pipeline and metric; whether it was created.

    A rule that existed takes the fields that the body carries.

    Raises:
        NotFoundError: no such pipeline.
    """
    await find(session, Pipeline, body.pipeline_id)
    carried = body.carried()
    key = {"pipeline_id": body.pipeline_id, "metric_field": body.metric_field}
    rule, created = await get_or_create(session, AnomalyDetectionRule, key, carried)
    changes = {field: value for field, value in carried.items() if getattr(rule, field) != value}
    if changes and not created:
        await apply_changes(session, rule, changes)
    return rule, created


async def patch_rule(session: AsyncSession, body: RulePatch) -> AnomalyDetectionRule:
    """Change what the body carries.

    Raises:
        NotFoundError: no such rule, or no such pipeline.
        ConflictError: another rule has that pipeline and metric.
    """
    rule = await find_for_update(session, AnomalyDetectionRule, body.id, None)
    changes = body.carried()
    if "pipeline_id" in changes:
        await find(session, Pipeline, changes["pipeline_id"])
    try:
        await apply_changes(session, rule, changes)
    except IntegrityError as error:
        if "uq_anomaly_detection_rule" not in str(error.orig):
            raise
        raise ConflictError("Another rule has that pipeline_id and metric_field already.") from None
    return rule


async def list_rules(
    session: AsyncSession,
    page: Page,
    *,
    pipeline_id: int | None,
    metric_field: str | None,
    active: bool | None,
) -> Sequence[AnomalyDetectionRule]:
    """Rules by id."""
    statement = select(AnomalyDetectionRule).order_by(AnomalyDetectionRule.id)
    if pipeline_id is not None:
        statement = statement.where(AnomalyDetectionRule.pipeline_id == pipeline_id)
    if metric_field is not None:
        statement = statement.where(AnomalyDetectionRule.metric_field == metric_field)
    if active is not None:
        statement = statement.where(AnomalyDetectionRule.active == active)
    return (await session.scalars(page.of(statement))).all()


async def list_results(
    session: AsyncSession,
    page: Page,
    *,
    pipeline_id: int | None,
    pipeline_execution_id: int | None,
    metric_field: str | None,
) -> Sequence[AnomalyDetectionResult]:
    """Results by id, the newest last."""
    statement = select(AnomalyDetectionResult).order_by(AnomalyDetectionResult.id)
    if pipeline_id is not None:
        # Not by the rule, which may have been given to another pipeline since.
        statement = statement.join(
            PipelineExecution, PipelineExecution.id == AnomalyDetectionResult.pipeline_execution_id
        ).where(PipelineExecution.pipeline_id == pipeline_id)
    if pipeline_execution_id is not None:
        statement = statement.where(AnomalyDetectionResult.pipeline_execution_id == pipeline_execution_id)
    if metric_field is not None:
        statement = statement.where(AnomalyDetectionResult.metric_field == metric_field)
    return (await session.scalars(page.of(statement))).all()


async def unflag_anomaly(session: AsyncSession, body: Unflag) -> None:
    """Clear the named flags that exist, so that they read false, and delete their results.

    A cleared flag stays on the execution: the metric is not judged again, and counts in later baselines.

    Raises:
        NotFoundError: the pipeline has no such execution, or the execution none of the flags.
    """
    execution = await _lock_execution(session, body.pipeline_id, body.pipeline_execution_id)
    cleared = [metric for metric in execution.anomaly_flags if metric in body.metric_field]
    if not cleared:
        named = ", ".join(sorted(set(body.metric_field)))
        raise NotFoundError(f"Pipeline execution {execution.id} has no anomaly flag for {named}.")
    execution.anomaly_flags = execution.anomaly_flags | dict.fromkeys(cleared, False)
    await session.execute(
        delete(AnomalyDetectionResult).where(
            AnomalyDetectionResult.pipeline_execution_id == execution.id,
            AnomalyDetectionResult.metric_field.in_(cleared),
        )
    )


async def _lock_execution(session: AsyncSession, pipeline_id: int, execution_id: int) -> PipelineExecution:
    statement = (
        select(PipelineExecution)
        .where(PipelineExecution.id == execution_id, PipelineExecution.pipeline_id == pipeline_id)
        .with_for_update(key_share=True)
    )
    execution = await session.scalar(statement)
    if execution is None:
        raise NotFoundError(f"Pipeline {pipeline_id} has no execution with the id {execution_id}.")
    return execution
