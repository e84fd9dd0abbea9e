"""What a rule expects, for people and charts: the same baselines that executions are judged by."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.detection import find_expectations
from watcher_server.anomalies.expectations import Expectation, Moment
from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.anomalies.rules import Method, Metric, Rule
from watcher_server.anomalies.schemas import BaselineResponse, JudgedExecution
from watcher_server.anomalies.series import expect_at_moments
from watcher_server.database.engine import sync_engine
from watcher_server.database.rows import find
from watcher_server.executions.models import PipelineExecution
from watcher_server.kit.errors import NotFoundError
from watcher_server.pipelines.models import Pipeline

# The seasonal method computes for some milliseconds per band, so not in the event loop. A page of many charts takes
# turns: each thread has a connection of the few that the relay and the keeper of this process need too.
THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="baseline")


async def read_baseline(session: AsyncSession, pipeline_id: int, metric: Metric, executions: int) -> BaselineResponse:
    """What is expected of a run that starts and ends now, and the bands of the latest successful executions.

    Raises NotFoundError if there is no such pipeline, or it has no rule for the metric.
    """
    await find(session, Pipeline, pipeline_id)
    wanted = AnomalyDetectionRule.pipeline_id == pipeline_id, AnomalyDetectionRule.metric_field == metric.value
    rule = await session.scalar(select(AnomalyDetectionRule).where(*wanted))
    if rule is None:
        raise NotFoundError(f"Pipeline {pipeline_id} has no anomaly detection rule for {metric.value}.")
    # The session is not needed any more: others may use its connection while the bands are computed.
    await session.commit()
    return await asyncio.get_running_loop().run_in_executor(THREADS, _read, rule, pipeline_id, executions)


def _read(stored: AnomalyDetectionRule, pipeline_id: int, executions: int) -> BaselineResponse:
    rule, now = Rule.of(stored, metric=stored.metric_field), datetime.now(UTC)
    with sync_engine().connect() as connection:
        runs = _read_latest(connection, pipeline_id, rule, executions)
        moments = [Moment(run.start_date, run.end_date, run.hour_recorded, run.date_recorded) for run in runs]
        next_run = Moment(now, now, now.hour, now.date())
        band, *bands = _read_bands(connection, pipeline_id, rule, [next_run, *moments])
    ready: Literal["ready", "learning"] = "learning" if band["mean"] is None else "ready"
    return BaselineResponse(
        **band,
        pipeline_id=pipeline_id,
        metric_field=rule.metric,
        rule_id=rule.id,
        state=ready if stored.active else "inactive",
        at=now,
        minimum_executions=rule.minimum_executions,
        executions=[
            JudgedExecution(
                **band,
                id=run.id,
                start_date=run.start_date,
                end_date=run.end_date,
                value=run.value,
                flagged=run.anomaly_flags.get(rule.metric) is True,
            )
            for run, band in zip(runs, bands, strict=True)
        ],
    )


def _read_latest(connection: Connection, pipeline_id: int, rule: Rule, limit: int) -> Sequence[Row[Any]]:
    """The latest successful executions by start, by ix_pipeline_execution_pipeline_id_start_date."""
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
    return connection.execute(statement).all()


def _read_bands(
    connection: Connection, pipeline_id: int, rule: Rule, moments: Sequence[Moment]
) -> Iterator[dict[str, Any]]:
    """What the rule expected at each of these moments."""
    if rule.method != Method.SEASONAL:
        yield from (_as_band(_find(connection, pipeline_id, rule, moment)) for moment in moments)
        return
    for moment, expectation in zip(moments, expect_at_moments(connection, pipeline_id, moments, rule), strict=True):
        # A rule that finds too few runs may look back from before a collapse.
        found = expectation if expectation.within is not None else _find(connection, pipeline_id, rule, moment)
        yield _as_band(found)


def _find(connection: Connection, pipeline_id: int, rule: Rule, moment: Moment) -> Expectation:
    return find_expectations(connection, pipeline_id, moment, [rule])[rule.id]


def _as_band(expectation: Expectation) -> dict[str, Any]:
    within = expectation.within
    return {
        "mean": within and within.mean,
        "std": within and within.std,
        "lower_bound": within and within.lower,
        "upper_bound": within and within.upper,
        "execution_count": expectation.execution_count,
        "bucket": expectation.bucket,
    }
