"""What people do with anomalies: set rules, read results, clear flags."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent
from watcher_server.anomalies.schemas import RulePatch, RulePost
from watcher_server.executions.models import PipelineExecution
from watcher_server.kit.configuration import apply_changes, find, find_for_update, get_or_create
from watcher_server.kit.errors import ConflictError
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
    series = {"pipeline_id": rule.pipeline_id, "metric_field": rule.metric_field}
    if any(changes.get(field, stored) != stored for field, stored in series.items()):
        # What was learnt and accepted was of another series.
        changes = {"normal_from": None, "learning": True} | changes
    if "normal_from" in changes:
        changes["normal_until"] = None if changes["normal_from"] is None else func.now()
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


async def list_events(
    session: AsyncSession,
    page: Page,
    *,
    pipeline_id: int | None,
    metric_field: str | None,
    accepted: bool | None,
) -> Sequence[AnomalyEvent]:
    """Events by id, the newest last."""
    statement = select(AnomalyEvent).order_by(AnomalyEvent.id)
    if pipeline_id is not None:
        statement = statement.where(AnomalyEvent.pipeline_id == pipeline_id)
    if metric_field is not None:
        statement = statement.where(AnomalyEvent.metric_field == metric_field)
    if accepted is not None:
        at = AnomalyEvent.accepted_at
        statement = statement.where(at.is_not(None) if accepted else at.is_(None))
    return (await session.scalars(page.of(statement))).all()
