"""What a rule expects, for people and charts: the same baselines that executions are judged by."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.baseline import Moment
from watcher_server.anomalies.expectations import find_expectations
from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.anomalies.rules import Metric, Rule
from watcher_server.anomalies.schemas import BaselineResponse
from watcher_server.database.engine import sync_engine
from watcher_server.executions.models import PipelineExecution
from watcher_server.kit.configuration import find
from watcher_server.kit.errors import NotFoundError
from watcher_server.pipelines.models import Pipeline

# The seasonal method computes for some milliseconds per band, so not in the event loop. A page of many charts takes
# turns: each thread has a connection of the few that the relay and the keeper of this process need too.
_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="baseline")


async def read_baseline(session: AsyncSession, pipeline_id: int, metric: Metric, executions: int) -> BaselineResponse:
    """What is expected of a run that starts and ends now, and the bands of the latest successful executions.

    Raises:
        NotFoundError: no such pipeline, or it has no rule for the metric.
    """
    await find(session, Pipeline, pipeline_id)
    rule = await _find_rule(session, pipeline_id, metric)
    # What has been read is all that the session is for; its connection is for others while the bands are worked out.
    await session.commit()
    loop = asyncio.get_running_loop()
    return BaselineResponse.model_validate(
        await loop.run_in_executor(_THREADS, _read_apart, rule, pipeline_id, executions)
    )


async def _find_rule(session: AsyncSession, pipeline_id: int, metric: Metric) -> AnomalyDetectionRule:
    statement = select(AnomalyDetectionRule).where(
        AnomalyDetectionRule.pipeline_id == pipeline_id, AnomalyDetectionRule.metric_field == metric.value
    )
    rule: AnomalyDetectionRule | None = await session.scalar(statement)
    if rule is None:
        raise NotFoundError(f"Pipeline {pipeline_id} has no anomaly detection rule for {metric.value}.")
    return rule


def _read_apart(rule: AnomalyDetectionRule, pipeline_id: int, executions: int) -> dict[str, Any]:
    with sync_engine().connect() as connection:
        return _read(connection, rule, pipeline_id, executions)


def _read(connection: Connection, stored: AnomalyDetectionRule, pipeline_id: int, executions: int) -> dict[str, Any]:
    rule, now = Rule.of(stored, metric=stored.metric_field), datetime.now(UTC)
    band = _read_band(connection, pipeline_id, rule, Moment(now, now, now.hour, now.date()))
    ready = "ready" if band["mean"] is not None else "learning"
    return band | {
        "pipeline_id": pipeline_id,
        "metric_field": rule.metric,
        "rule_id": rule.id,
        "state": ready if stored.active else "inactive",
        "at": now,
        "minimum_executions": rule.minimum_executions,
        "executions": _read_executions(connection, pipeline_id, rule, executions),
    }


def _read_executions(connection: Connection, pipeline_id: int, rule: Rule, limit: int) -> list[dict[str, Any]]:
    """The latest by start, by ix_pipeline_execution_pipeline_id_start_date."""
    run = PipelineExecution
    statement = (
        select(
            *(run.id, run.start_date, run.end_date, run.hour_recorded, run.date_recorded, run.anomaly_flags),
            getattr(run, rule.metric).label("value"),
        )
        .where(run.pipeline_id == pipeline_id, run.completed_successfully.is_(True))
        .order_by(run.start_date.desc(), run.id.desc())
        .limit(limit)
    )
    return [
        {
            "id": row.id,
            "start_date": row.start_date,
            "end_date": row.end_date,
            "value": row.value,
            "flagged": row.anomaly_flags.get(rule.metric) is True,
            **_read_band(
                connection,
                pipeline_id,
                rule,
                Moment(row.start_date, row.end_date, row.hour_recorded, row.date_recorded),
            ),
        }
        for row in connection.execute(statement).all()
    ]


def _read_band(connection: Connection, pipeline_id: int, rule: Rule, moment: Moment) -> dict[str, Any]:
    expectation = find_expectations(connection, pipeline_id, moment, [rule])[rule.id]
    within = expectation.within
    return {
        "mean": within and within.mean,
        "std": within and within.std,
        "lower_bound": within and within.lower,
        "upper_bound": within and within.upper,
        "execution_count": expectation.execution_count,
        "bucket": expectation.bucket,
    }
