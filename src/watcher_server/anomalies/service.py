"""Anomaly detection rules: creating, changing and listing them; and lists of results and events."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config.declared import check_rule_declared
from watcher_server.anomalies.flags import record_change
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent
from watcher_server.anomalies.normals import TAKE_BACK
from watcher_server.anomalies.schemas import RulePatch, RulePost
from watcher_server.database.rows import apply_changes, find, find_for_update, get_or_create, list_rows
from watcher_server.executions.models import PipelineExecution
from watcher_server.kit.errors import ConflictError
from watcher_server.kit.listing import Page, list_statement
from watcher_server.pipelines.models import Pipeline


async def sync_rule(session: AsyncSession, body: RulePost) -> tuple[AnomalyDetectionRule, bool]:
    """Get or create the rule for the body's pipeline and metric; whether it was created.

    A rule that existed takes the fields that the body carries. Raises NotFoundError if there is no such pipeline.
    """
    await find(session, Pipeline, body.pipeline_id)
    carried = body.carried()
    key = {"pipeline_id": body.pipeline_id, "metric_field": body.metric_field}
    rule, created = await get_or_create(session, AnomalyDetectionRule, key, carried)
    changes = {field: value for field, value in carried.items() if getattr(rule, field) != value}
    if created:
        given = {field: value for field, value in carried.items() if field not in key}
        await _record(session, "create_rule", rule, None, given)
    elif changes:
        before = {field: getattr(rule, field) for field in changes}
        await apply_changes(session, rule, {**changes, "alarm_threshold_due": None})
        await _record(session, "change_rule", rule, before, changes)
    return rule, created


async def _record(
    session: AsyncSession,
    action: str,
    rule: AnomalyDetectionRule,
    before: Mapping[str, Any] | None,
    changes: Mapping[str, Any],
) -> None:
    """Tell the audit trail: the history of a pipeline has its rules, their fields named by the metric."""
    after = {f"{rule.metric_field}.{field}": getattr(rule, field) for field in changes}
    was = None if before is None else {f"{rule.metric_field}.{field}": value for field, value in before.items()}
    if was is None:
        # Also of a rule that has the defaults alone it is told which metric it is for.
        after["rule"] = rule.metric_field
    await record_change(session, action, rule.pipeline_id, was, after)


async def post_rule(session: AsyncSession, body: RulePost) -> tuple[AnomalyDetectionRule, bool]:
    """As :func:`sync_rule`, on the request of a user; raises ConflictError too, if the rule comes from a file."""
    wanted = list_statement(AnomalyDetectionRule, pipeline_id=body.pipeline_id, metric_field=body.metric_field)
    rule = await session.scalar(wanted)
    if rule is not None:
        await _check_declared(session, rule, body.carried())
    return await sync_rule(session, body)


async def _check_declared(session: AsyncSession, rule: AnomalyDetectionRule, changes: Mapping[str, Any]) -> None:
    different = [field for field, value in changes.items() if getattr(rule, field) != value]
    pipeline = await find(session, Pipeline, rule.pipeline_id)
    await check_rule_declared(session, pipeline.name, rule.metric_field, different)


async def patch_rule(session: AsyncSession, body: RulePatch) -> AnomalyDetectionRule:
    """Change what the body carries.

    Raises NotFoundError if there is no such rule or pipeline; ConflictError if another rule has that pipeline and
    metric, or it comes from a file.
    """
    rule = await find_for_update(session, AnomalyDetectionRule, body.id, None)
    changes = body.carried()
    await _check_declared(session, rule, changes)
    series = {"pipeline_id": rule.pipeline_id, "metric_field": rule.metric_field}
    if any(changes.get(field, stored) != stored for field, stored in series.items()):
        # The rule knows nothing of the other series yet.
        changes = {"normal_from": None, "learning": True} | changes
    if "normal_from" in changes:
        changes["normal_until"] = None if changes["normal_from"] is None else func.now()
        former, rule.former_normals = rule.former_normals, []
    if "pipeline_id" in changes:
        await find(session, Pipeline, changes["pipeline_id"])
    before = {field: getattr(rule, field) for field in changes}
    try:
        # By another method, or for another number of alarms, another threshold has to be found.
        await apply_changes(session, rule, {**changes, "alarm_threshold_due": None})
    except IntegrityError as error:
        if "uq_anomaly_detection_rule" not in str(error.orig):
            raise
        raise ConflictError("Another rule has that pipeline_id and metric_field already.") from None
    if "normal_from" in changes and before["normal_from"] is not None and changes["normal_from"] is None:
        normals = [datetime.fromisoformat(normal["from"]) for normal in former if normal["from"]]
        # Events whose level was accepted from that moment on are anomalies again.
        event, since = AnomalyEvent, min([*normals, before["normal_from"]])
        accepted = event.rule_id == rule.id, event.last_at >= since, event.accepted_at.is_not(None)
        await session.execute(update(event).where(*accepted).values(accepted_at=None))
    await _record(session, "change_rule", rule, before, changes)
    return rule


async def take_back_normal(session: AsyncSession, rule_id: int, event: AnomalyEvent | None = None) -> None:
    """Have the normal that was accepted last be none: the one before holds again, or all runs count.

    With an event, those that were accepted after it are taken back too, until it is open. Raises NotFoundError if there
    is no such rule.
    """
    rule = await find_for_update(session, AnomalyDetectionRule, rule_id, None)
    before = {"normal_from": rule.normal_from}
    while True:
        await session.execute(text(TAKE_BACK), {"rule_id": rule_id})
        await session.refresh(rule)
        if event is None or rule.normal_from is None:
            break
        await session.refresh(event)
        if event.accepted_at is None:
            break
    await _record(session, "change_rule", rule, before, {"normal_from": rule.normal_from})


async def list_rules(
    session: AsyncSession, page: Page, *, pipeline_id: int | None, metric_field: str | None, active: bool | None
) -> Sequence[AnomalyDetectionRule]:
    """Rules by id."""
    filters = {"pipeline_id": pipeline_id, "metric_field": metric_field, "active": active}
    return await list_rows(session, AnomalyDetectionRule, page, **filters)


async def list_results(
    session: AsyncSession,
    page: Page,
    *,
    pipeline_id: int | None,
    pipeline_execution_id: int | None,
    metric_field: str | None,
) -> Sequence[AnomalyDetectionResult]:
    """Results by id, the newest last."""
    statement = list_statement(
        AnomalyDetectionResult, pipeline_execution_id=pipeline_execution_id, metric_field=metric_field
    )
    if pipeline_id is not None:
        # Not by the rule, which may have been given to another pipeline since.
        statement = statement.join(
            PipelineExecution, PipelineExecution.id == AnomalyDetectionResult.pipeline_execution_id
        ).where(PipelineExecution.pipeline_id == pipeline_id)
    return (await session.scalars(page.of(statement))).all()


async def list_findings(
    session: AsyncSession, execution_id: int
) -> list[tuple[AnomalyDetectionResult, AnomalyEvent | None]]:
    """The anomalies of an execution by metric, each with its event unless retention has deleted that.

    By ix_anomaly_detection_result_pipeline_execution_id.
    """
    result, event = AnomalyDetectionResult, AnomalyEvent
    statement = (
        select(result, event)
        .outerjoin(event, event.id == result.event_id)
        .where(result.pipeline_execution_id == execution_id)
        .order_by(result.metric_field)
    )
    return [(row[0], row[1]) for row in await session.execute(statement)]


async def list_events(
    session: AsyncSession, page: Page, *, pipeline_id: int | None, metric_field: str | None, accepted: bool | None
) -> Sequence[AnomalyEvent]:
    """Events by id, the newest last."""
    statement = list_statement(AnomalyEvent, pipeline_id=pipeline_id, metric_field=metric_field)
    if accepted is not None:
        at = AnomalyEvent.accepted_at
        statement = statement.where(at.is_not(None) if accepted else at.is_(None))
    return (await session.scalars(page.of(statement))).all()
