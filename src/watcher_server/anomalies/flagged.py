"""Anomalies of one pipeline, as its page shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent
from watcher_server.executions.models import PipelineExecution
from watcher_server.kit.errors import NotFoundError


class Anomaly(NamedTuple):
    """A result with its run, its rule and its event."""

    result: AnomalyDetectionResult
    run: PipelineExecution
    rule: AnomalyDetectionRule
    event: AnomalyEvent | None

    @property
    def rule_stands(self) -> bool:
        """Whether the rule still judges the metric of this pipeline."""
        return (self.rule.pipeline_id, self.rule.metric_field) == (self.run.pipeline_id, self.result.metric_field)


async def read_anomaly(session: AsyncSession, pipeline_id: int, result_id: int) -> Anomaly:
    """One anomaly with all that led to it, by primary keys; raises NotFoundError if the pipeline has no such one."""
    result, run, rule, event = AnomalyDetectionResult, PipelineExecution, AnomalyDetectionRule, AnomalyEvent
    statement = (
        select(result, run, rule, event)
        .join(run, run.id == result.pipeline_execution_id)
        .join(rule, rule.id == result.rule_id)
        .outerjoin(event, event.id == result.event_id)
        .where(result.id == result_id, run.pipeline_id == pipeline_id)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFoundError(f"Pipeline {pipeline_id} has no anomaly {result_id}: it may have been unflagged.")
    return Anomaly._make(row)


async def read_flagged(session: AsyncSession, execution_ids: Sequence[int]) -> Sequence[AnomalyDetectionResult]:
    """The results of these executions, each by ix_anomaly_detection_result_pipeline_execution_id."""
    result = AnomalyDetectionResult
    return (await session.scalars(select(result).where(result.pipeline_execution_id.in_(execution_ids)))).all()


async def read_event_log(
    session: AsyncSession, pipeline_id: int, *, before: datetime, limit: int
) -> list[tuple[AnomalyEvent, AnomalyDetectionResult | None]]:
    """The pipeline's events before a moment, the newest first, with the result of the last run unless unflagged.

    The rules by their unique key, their events by ix_anomaly_event_rule_id_last_at.
    """
    rule, event, result = AnomalyDetectionRule, AnomalyEvent, AnomalyDetectionResult
    its_last = and_(result.rule_id == rule.id, result.pipeline_execution_id == event.last_execution_id)
    statement = (
        select(event, result)
        .join(rule, and_(rule.id == event.rule_id, rule.pipeline_id == event.pipeline_id))
        .outerjoin(result, its_last)
        .where(rule.pipeline_id == pipeline_id, event.last_at < before)
        .order_by(event.last_at.desc(), event.id.desc())
        .limit(limit)
    )
    return [(found, last) for found, last in await session.execute(statement)]
